//! The real program as a process: started, read, called, and brought to its end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// How long a program may take for what it does at once on a machine that isn't busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program with nothing of this process's `ROSTER_*` variables.
pub fn roster() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roster"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROSTER_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// `roster serve` on a directory and a free port; a full disk is not what is tested.
pub fn serve(directory: &Path) -> Command {
    let mut command = roster();
    command.arg("serve").arg("--data-dir").arg(directory).args([
        "--listen",
        "127.0.0.1:0",
        "--minimum-free-mib",
        "1",
        // However busy the machine is that tests run on.
        "--overload-lag-milliseconds",
        "3600000",
    ]);
    command
}

/// A program that runs, with all that it has printed.
pub struct Process {
    child: Child,
    printed: Receiver<String>,
    reading: Vec<JoinHandle<String>>,
}

/// How a program ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (lines, printed) = channel();
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = child.stderr.take().expect("a pipe");
        let reading = vec![
            thread::spawn(move || read_lines(stdout, Some(&lines))),
            thread::spawn(move || read_lines(stderr, None)),
        ];
        Self {
            child,
            printed,
            reading,
        }
    }

    /// The first line of standard output that begins so, without that beginning.
    pub fn line(&self, beginning: &str) -> Option<String> {
        loop {
            let line = self.printed.recv_timeout(PATIENCE).ok()?;
            if let Some(rest) = line.strip_prefix(beginning) {
                return Some(rest.to_owned());
            }
        }
    }

    /// What it took of the processor so far, where the system tells.
    pub fn worked(&self) -> Option<Duration> {
        let told = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let after_name = told.rsplit(')').next()?;
        let mut numbers = after_name.split_whitespace().skip(11);
        let mut ticks = || numbers.next()?.parse::<u64>().ok();
        // In hundredths of a second.
        Some(Duration::from_millis(10 * (ticks()? + ticks()?)))
    }

    /// SIGKILL: nothing of the program runs any more.
    pub fn kill(&mut self) {
        self.child.kill().expect("the program can be killed");
    }

    /// SIGTERM: the program is asked to end.
    pub fn terminate(&self) {
        let sent = Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()])
            .status()
            .expect("a shell");
        assert!(sent.success(), "the program is gone already");
    }

    /// Waits for the end; a program that panicked fails the test.
    pub fn ended(mut self) -> Ended {
        // Standard output is closed when the program is gone.
        while self.printed.recv_timeout(PATIENCE).is_ok() {}
        let finished = self.reading.iter().all(|thread| {
            (0..500).any(|_| {
                thread.is_finished() || {
                    thread::sleep(Duration::from_millis(10));
                    false
                }
            })
        });
        if !finished {
            self.kill();
        }
        let status = self.child.wait().expect("a status");
        let mut texts = self.reading.drain(..).map(|thread| {
            let text = thread.join().expect("output is read");
            assert!(!text.contains("panicked"), "{text}");
            text
        });
        let (stdout, stderr) = (texts.next().unwrap(), texts.next().unwrap());
        assert!(finished, "it did not end by itself: {stdout}{stderr}");
        Ended {
            status,
            stdout,
            stderr,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ended {
    Process::spawn(command).ended()
}

fn read_lines(from: impl Read, lines: Option<&Sender<String>>) -> String {
    let mut all = String::new();
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        all.push_str(&line);
        all.push('\n');
        if let Some(lines) = lines {
            let _ = lines.send(line);
        }
    }
    all
}

/// A daemon that serves, and what is needed to call it.
pub struct Daemon {
    pub process: Process,
    pub address: SocketAddr,
    pub key: String,
}

impl Daemon {
    /// Starts on a directory.
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    /// Starts on a directory with further flags.
    pub fn start_with(directory: &Path, flags: &[&str]) -> Self {
        Self::launch(directory, serve(directory).args(flags))
    }

    fn launch(directory: &Path, command: &mut Command) -> Self {
        Self::of(directory, Process::spawn(command))
    }

    /// The daemon that a process is, on a directory.
    pub fn of(directory: &Path, process: Process) -> Self {
        let served = Self::if_it_serves(directory, process);
        served.unwrap_or_else(|ended| panic!("it did not start: {}{}", ended.stdout, ended.stderr))
    }

    /// The same, or how the process ended that did not come to serve.
    pub fn if_it_serves(directory: &Path, process: Process) -> Result<Self, Ended> {
        let Some(address) = process.line("roster listens on ") else {
            return Err(process.ended());
        };
        let key = fs::read_to_string(directory.join("operator.key")).expect("a key");
        Ok(Self {
            process,
            address: address.parse().expect("an address"),
            key: key.trim().to_owned(),
        })
    }

    /// Starts on a directory with something armed in it.
    pub fn start_armed(directory: &Path, failpoint: &str) -> Self {
        Self::launch(
            directory,
            serve(directory).env("ROSTER_FAILPOINT", failpoint),
        )
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address))
            .expect("an address")
            .connect()
            .await
            .expect("the daemon answers")
    }

    /// A request that carries the key.
    pub fn signed<T>(&self, message: T) -> Request<T> {
        signed(&self.key, message)
    }

    /// SIGKILL: it ends in the middle of whatever it does.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Everything that it logged; ends it.
    pub fn stop_and_tell(self) -> String {
        let ended = self.stop();
        format!("{}{}", ended.stdout, ended.stderr)
    }

    /// Ends it as a person would; that must succeed.
    pub fn stop(self) -> Ended {
        self.process.terminate();
        let ended = self.process.ended();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        ended
    }
}

/// A request that carries a key.
pub fn signed<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {key}").parse().expect("a header value");
    request.metadata_mut().insert("authorization", value);
    request
}
