//! Where connections come from: a TCP port, and a Unix socket if one is asked for.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fs, net, os};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

use super::identities::Peer;
use super::tls::Tls;

use super::probes::Probes;

/// Who may connect to a Unix socket: its owner and group. A key is needed as well.
const SOCKET_MODE: u32 = 0o660;

/// The listeners of a daemon.
pub struct Listeners {
    tcp: TcpListener,
    unix: Option<UnixSocket>,
    tls: Option<Tls>,
    probes: Probes,
}

impl Listeners {
    /// These.
    pub fn new(tcp: TcpListener, unix: Option<UnixSocket>) -> Self {
        Self {
            tcp,
            unix,
            tls: None,
            probes: Probes::default(),
        }
    }

    /// The same with TLS on the TCP port.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// The same, telling health and metrics there.
    #[must_use]
    pub fn with_probes(self, probes: Probes) -> Self {
        Self { probes, ..self }
    }

    /// Where health and metrics are told.
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// The address that is listened on.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.local_addr().ok()
    }

    /// The next connection of either.
    pub async fn accept(&self) -> io::Result<Accepted> {
        let unix = async {
            match &self.unix {
                Some(socket) => socket.listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.tcp.accept() => {
                let (stream, _) = accepted?;
                // Otherwise an answer may wait 40 ms for the client's acknowledgement.
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream.into_std()?, self.tls.clone()))
            }
            accepted = unix => Ok(Accepted::Unix(accepted?.0.into_std()?)),
        }
    }
}

/// A socket in the file system; its file goes when this does.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file, by which it is known.
    file: (u64, u64),
}

/// A Unix socket can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum UnixSocketError {
    /// Another process serves on it.
    #[error("another process listens on `{}`; stop that one first", .0.display())]
    Live(PathBuf),
    /// There is something else.
    #[error("`{}` is there already and is no socket; name another path", .0.display())]
    NotASocket(PathBuf),
    /// The operating system refuses.
    #[error("can't listen on `{}`", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl UnixSocket {
    /// Listens there. A file that a process left behind which is gone is replaced.
    pub fn bind(path: &Path) -> Result<Self, UnixSocketError> {
        let failed = |source| UnixSocketError::Io {
            path: path.to_owned(),
            source,
        };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(there) if !there.file_type().is_socket() => {
                return Err(UnixSocketError::NotASocket(path.to_owned()));
            }
            Ok(_) => match os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
                Ok(_) => return Err(UnixSocketError::Live(path.to_owned())),
            },
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let there = fs::symlink_metadata(path).map_err(failed)?;
        let socket = Self {
            listener,
            path: path.to_owned(),
            file: (there.dev(), there.ino()),
        };
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(socket)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let is_own = fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == self.file);
        if is_own && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the socket can't be removed");
        }
    }
}

/// A connection that no runtime knows yet.
pub enum Accepted {
    /// Over TCP, perhaps with TLS.
    Tcp(net::TcpStream, Option<Tls>),
    /// Over a Unix socket.
    Unix(os::unix::net::UnixStream),
}

impl Accepted {
    /// The connection, on the runtime this is called on, and who is at its other end as
    /// far as it shows; for TLS, once hands are shaken.
    pub async fn into_stream(self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(stream, None) => {
                let stream = TcpStream::from_std(stream)?;
                Ok((Stream::Tcp(stream), Peer::default()))
            }
            Self::Tcp(stream, Some(tls)) => {
                let (stream, peer) = tls.accept(TcpStream::from_std(stream)?).await?;
                Ok((Stream::Tls(Box::new(stream)), peer))
            }
            Self::Unix(stream) => {
                let stream = UnixStream::from_std(stream)?;
                // As the operating system tells it, of when the connection was made.
                let credentials = stream.peer_cred()?;
                let peer = Peer {
                    user_and_group: Some((credentials.uid(), credentials.gid())),
                    ..Peer::default()
                };
                Ok((Stream::Unix(stream), peer))
            }
        }
    }
}

/// A connection of either kind.
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over TCP with TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
