//! What does every server among these examples begin and end with? An address, a listener, Ctrl-C.
//!
//! Ctrl-C sets a token: the server takes nobody new, lets those who are served come to an end, and returns. A second Ctrl-C ends
//! the process at once, since by then nobody asks for the signal any more.
//!
//! Comes from: the examples' mains. Goes to: the `serve` of each.

use std::io;
use std::process::ExitCode;

use net::{Served, TcpListener};
use runtime::CancelToken;

/// Runs `serve` on the address that the command line names, or on `default`.
pub(crate) fn run_server(
    protocol: &str,
    default: &str,
    serve: impl AsyncFnOnce(TcpListener, CancelToken) -> io::Result<Served>,
) -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| default.to_owned());
    if address.starts_with('-') {
        eprintln!(
            "one argument: the address to listen on, such as {default} (that is the default)"
        );
        return ExitCode::from(2);
    }
    let result = runtime::block_on(async {
        let listener = TcpListener::bind(address.as_str()).await?;
        println!("{protocol}://{} (Ctrl-C ends it)", listener.local_addr()?);
        let stop = CancelToken::new();
        let (token, ctrl_c) = (stop.clone(), runtime::ctrl_c());
        runtime::spawn(async move {
            match ctrl_c.await {
                Ok(()) => token.cancel(),
                Err(error) => eprintln!("Ctrl-C will end this at once, without a goodbye: {error}"),
            }
        });
        serve(listener, stop).await
    });
    match result {
        Ok(served) => {
            println!("served {} connections, {} of them cut off", served.accepted, served.cut);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
