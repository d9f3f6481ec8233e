//! How does one start another program, talk to it, and wait for it?
//!
//! asyncio: `create_subprocess_exec` and `communicate`. Here `process::Command`, with the methods of std's. What
//! asyncio leaves to the user is built in: a child whose handle is dropped, by a timeout for instance, is killed and
//! reaped; `detach` lets it live.
//!
//! Comes from: ../main.rs. Goes to: `runtime::process`.

use std::process::Stdio;

use runtime::process::Command;
use runtime::timeout;

use crate::Outcome;
use crate::words::Words;

async fn run(script: &str) -> Outcome {
    let output = Command::new("sh").args(["-c", script]).output().await?;
    println!("[{script:?}: {}]", output.status);
    for (name, bytes) in [("stdout", output.stdout), ("stderr", output.stderr)] {
        if !bytes.is_empty() {
            println!("[{name}] {}", String::from_utf8(bytes)?.trim_end());
        }
    }
    Ok(())
}

/// A question and an answer at a time, over pipes.
async fn converse() -> Outcome {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("both were asked for".into());
    };
    for word in ["hello", "goodbye"] {
        input.write_all(word.as_bytes()).await?;
        let mut buffer = [0; 64];
        let count = output.read(&mut buffer).await?;
        println!("cat says {:?}", String::from_utf8_lossy(&buffer[..count]));
    }
    drop(input); // the end, as cat sees it
    println!("[cat: {}]", child.wait().await?);
    Ok(())
}

pub(crate) fn main(words: &[String]) -> Outcome {
    let tick = Words::new(words, &["--tick"])?.tick(1000)?;
    runtime::block_on(async {
        run("echo to one; echo to the other >&2; exit 3").await?;

        let sorted = Command::new("sort").output_of("cherry\napple\nbanana\n").await?;
        println!("sorted: {:?}", String::from_utf8(sorted.stdout)?);

        converse().await?;

        // The program's future is dropped by the timeout, and the program is killed by that.
        let late = timeout(tick, Command::new("sleep").arg("1000").status()).await;
        println!("sleep 1000: {}", if late.is_err() { "given up, and killed" } else { "done" });
        Ok(())
    })
}
