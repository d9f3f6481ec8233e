//! TLS: the echo of examples/tls_echo.rs with openssl and Python, its end, and HTTP over it.
//!
//! Comes from: main.rs. Goes to: examples/tls_echo.rs, futures-rustls over net's streams.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::pki_types::{CertificateDer, ServerName};
use futures_rustls::rustls::{ClientConfig, DEFAULT_VERSIONS, RootCertStore};
use futures_rustls::{TlsAcceptor, TlsConnector};
use hyper::service::service_fn;
use hyper_util::server::conn::auto;
use net::{HyperExecutor, HyperIo, Limits, MemoryStream, serve};
use runtime::testing::{Hostile, duplex};

use crate::support::within;
use crate::{Scratch, Server, client, noise, source};

#[allow(dead_code, reason = "its main")]
#[path = "../examples/tls_echo.rs"]
mod tls_server;

use tls_server::{self_signed, serve_tls_echo};

#[test]
fn openssl_gets_its_lines_back_and_a_close_notify() {
    within(60, || {
        let (config, _) = self_signed().unwrap();
        let server =
            Server::start(async |listener, stop| serve_tls_echo(listener, stop, config).await);
        let address = server.address.to_string();
        for version in ["-tls1_2", "-tls1_3"] {
            let arguments = ["s_client", "-connect", &address, "-msg", "-no_ign_eof", version];
            let started = Command::new("openssl")
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn();
            let Ok(mut openssl) = started else {
                println!("skipped: no openssl");
                return;
            };
            let mut input = openssl.stdin.take().unwrap();
            let mut lines =
                std::io::BufRead::lines(std::io::BufReader::new(openssl.stdout.take().unwrap()));
            input.write_all(b"good morning\n").unwrap();
            assert!(lines.any(|line| line.unwrap() == "good morning"), "{version}: no echo");
            drop(input); // openssl says its close_notify, and leaves
            let goodbye = lines.any(|line| {
                let line = line.unwrap();
                line.starts_with(">>>") && line.contains("close_notify")
            });
            assert!(goodbye, "{version}: openssl did not say that it ends");
            assert!(openssl.wait().unwrap().success());
        }
        server.end();
    });
}

#[test]
fn python_s_client_trusts_the_certificate_and_gets_a_megabyte_back() {
    within(60, || {
        let (config, certificate) = self_signed().unwrap();
        let file = Scratch::new("certificate.der", &certificate);
        let server =
            Server::start(async |listener, stop| serve_tls_echo(listener, stop, config).await);
        let port = server.address.port().to_string();
        let script = source("tls_client.py");
        let Some(text) = client("python3", &[&script, &port, file.path()]) else { return };
        assert_eq!(text, "1000000 bytes came back, and then the end\n");
        server.end();
    });
}

fn trusting(certificate: CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(DEFAULT_VERSIONS)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[test]
fn tls_passes_a_hostile_network_and_notices_its_end() {
    within(120, || {
        let (config, certificate) = self_signed().unwrap();
        let (acceptor, connector) = (TlsAcceptor::from(config), trusting(certificate));
        let body = noise(20_000);
        let name = ServerName::try_from("localhost").unwrap();
        // Real time and real randomness: a handshake is not the same twice. The pieces are.
        runtime::block_on(async {
            for seed in 0..10 {
                let (here, there) = duplex(4096);
                let here = MemoryStream::from(here.hostile(Hostile::new(seed).chunks(900)));
                let there = MemoryStream::from(there.hostile(Hostile::new(!seed).chunks(900)));
                let acceptor = acceptor.clone();
                let server = runtime::spawn(async move {
                    let mut stream = acceptor.accept(there).await?;
                    let mut all = Vec::new();
                    stream.read_to_end(&mut all).await.map(|_| all)
                });
                let mut client = connector.connect(name.clone(), here).await.unwrap();
                client.write_all(&body).await.unwrap();
                client.flush().await.unwrap();
                if seed % 2 == 0 {
                    client.close().await.unwrap();
                    assert!(server.await.unwrap().unwrap() == body);
                } else {
                    drop(client); // as if somebody on the way had cut it
                    let error = server.await.unwrap().unwrap_err();
                    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
                }
            }
        });
    });
}

#[test]
fn http_runs_over_tls() {
    async fn hello(
        _: hyper::Request<hyper::body::Incoming>,
    ) -> Result<hyper::Response<String>, hyper::Error> {
        Ok(hyper::Response::new("hello, over TLS\n".to_owned()))
    }
    within(60, || {
        let mut config = Arc::unwrap_or_clone(self_signed().unwrap().0);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let server = Server::start(async |listener, stop| {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            serve(listener, Limits::new().shutdown(stop), async move |stream, _| {
                let stream = HyperIo::new(acceptor.accept(stream).await.unwrap());
                auto::Builder::new(HyperExecutor)
                    .serve_connection(stream, service_fn(hello))
                    .await
                    .unwrap();
            })
            .await
        });
        let url = format!("https://{}/", server.address);
        for (version, number) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let report = "%{num_connects} %{http_version}\n";
            let arguments = ["-sSk", version, "-w", report, &url, &url];
            let Some(text) = client("curl", &arguments) else { return };
            let text = text.replace("hello, over TLS\n", "");
            assert_eq!(text, format!("1 {number}\n0 {number}\n"), "one connection for both");
        }
        assert_eq!(server.end().accepted, 2);
    });
}
