//! How does TLS run here? futures-rustls wraps any stream with futures-io's traits, and so `net::TcpStream`.
//!
//! ```text
//! cargo run -p tests --features ecosystem --example tls_echo           # or: -- 127.0.0.1:8444
//! openssl s_client -connect 127.0.0.1:8443 -quiet -no_ign_eof          # type lines; Ctrl-D ends it
//! ```
//!
//! The certificate is made when the program starts, for `localhost` and 127.0.0.1, and signed by nobody: clients must be told
//! not to check it, or be given it. A real server reads its own with rustls-pki-types' `pem`.
//!
//! TLS has an end of its own, the alert close_notify: without it a stream that ends may have been cut by somebody on the way.
//! The echo sends it when the client has, and reports an end without it as an error.
//!
//! | limit                          | value  |
//! |--------------------------------|--------|
//! | connections; those beyond wait | 1,000  |
//! | time for the handshake         | 10 s   |
//! | silence, also in reading       | 5 min  |
//! | time to finish after Ctrl-C    | 10 s   |
//!
//! HTTP over it: `HyperIo::new(stream)` is what hyper takes.
//!
//! Comes from: Ctrl-C or a test. Goes to: futures-rustls, over `net::TcpStream`.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use futures_rustls::TlsAcceptor;
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use futures_rustls::rustls::{DEFAULT_VERSIONS, ServerConfig};
use net::{Limits, Served, TcpListener, TcpStream, serve};
use runtime::{CancelToken, timeout};

mod common;

#[allow(dead_code, reason = "a test that has this file as a module starts it by itself")]
fn main() -> ExitCode {
    common::run_server("tls", "127.0.0.1:8443", async |listener, stop| {
        serve_tls_echo(listener, stop, self_signed()?.0).await
    })
}

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(300);

/// Sends back what it gets, until `stop` is set.
pub(crate) async fn serve_tls_echo(
    listener: TcpListener,
    stop: CancelToken,
    config: Arc<ServerConfig>,
) -> io::Result<Served> {
    let acceptor = TlsAcceptor::from(config);
    let limits = Limits::new().connections(1_000).shutdown(stop);
    serve(listener, limits, async move |stream, peer: SocketAddr| {
        if let Err(error) = echo(&acceptor, stream).await {
            eprintln!("{peer}: {error}");
        }
    })
    .await
}

async fn echo(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    let mut stream = timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await??;
    let mut buffer = vec![0; 16 * 1024]; // as much as a record holds
    loop {
        let count = timeout(SILENCE, stream.read(&mut buffer)).await??;
        if count == 0 {
            return timeout(SILENCE, stream.close()).await?; // with our close_notify
        }
        let echo = async {
            stream.write_all(&buffer[..count]).await?;
            stream.flush().await // rustls holds records back
        };
        timeout(SILENCE, echo).await??;
    }
}

/// A server's configuration with a new certificate, and that certificate for those who are to trust it.
pub(crate) fn self_signed() -> io::Result<(Arc<ServerConfig>, CertificateDer<'static>)> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let certificate = made.cert.der().clone();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(DEFAULT_VERSIONS)
        .and_then(|config| {
            config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key.into())
        })
        .map_err(io::Error::other)?;
    Ok((Arc::new(config), certificate))
}
