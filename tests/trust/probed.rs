//! The real program with health and metrics on addresses of their own, and the least of
//! HTTP/1.1 to ask them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use roster::transport::probes::Probes;

/// How long a program may take for what it does at once on a machine that isn't busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon of its own process.
pub struct Program {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    pub address: SocketAddr,
    pub health: SocketAddr,
    pub metrics: SocketAddr,
    pub key: String,
}

impl Program {
    /// Starts it on a directory with further flags, and waits until it serves.
    pub fn start(directory: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roster"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ROSTER_") {
                command.env_remove(name);
            }
        }
        let any = "127.0.0.1:0";
        command
            .args(["serve", "--minimum-free-mib", "1", "--listen", any])
            .args(["--health-listen", any, "--metrics-listen", any])
            // However busy the machine is that tests run on.
            .args(["--overload-lag-milliseconds", "3600000"])
            .args(flags)
            .arg("--data-dir")
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut told = |beginning: &str| -> SocketAddr {
            let mut line = String::new();
            while output.read_line(&mut line).expect("a line") > 0 {
                if let Some(address) = line.trim_end().strip_prefix(beginning) {
                    return address.parse().expect("an address");
                }
                line.clear();
            }
            panic!("it never said `{beginning}`");
        };
        let health = told("roster tells health on ");
        let metrics = told("roster tells metrics on ");
        let address = told("roster listens on ");
        let key = std::fs::read_to_string(directory.join("operator.key")).expect("a key");
        let program = Self {
            child,
            output,
            address,
            health,
            metrics,
            key: key.trim().to_owned(),
        };
        // It says where it listens before it serves there.
        while get(program.health, "/readyz").status != 200 {
            std::thread::sleep(Duration::from_millis(10));
        }
        program
    }

    /// SIGTERM: it is asked to end.
    pub fn terminate(&self) {
        let sent = Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()])
            .status()
            .expect("a shell");
        assert!(sent.success(), "the program is gone already");
    }

    /// Waits for its end; answers with how it ended and what it logged.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("its output");
        let mut log = String::new();
        let stderr = self.child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut log).expect("its log");
        assert!(!log.contains("panicked"), "{log}");
        (self.child.wait().expect("a status"), log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an HTTP server answered.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Asks for a page.
pub fn get(address: SocketAddr, path: &str) -> Answered {
    ask(address, "GET", path)
}

/// Asks with a method.
pub fn ask(address: SocketAddr, method: &str, path: &str) -> Answered {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: roster\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status");
    Answered {
        status: status.parse().expect("a number"),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

/// Where health and metrics are told by the probes of a daemon of this process.
pub fn listen(probes: &Probes) -> (SocketAddr, SocketAddr) {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (health, metrics) = (bind(), bind());
    let addresses = (
        health.local_addr().expect("an address"),
        metrics.local_addr().expect("an address"),
    );
    let served = probes.serve(Some(health), Some(metrics));
    served.expect("the probes are served");
    addresses
}
