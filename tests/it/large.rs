//! How large may a future be?
//!
//! A future that is passed on by value is copied by each call in a debug build, so a large one may overflow the stack on its
//! way into its task. Every way to spawn takes one of 256 KiB on a stack of 2 MiB, which is what threads have by default.
//!
//! Comes from: main.rs. Goes to: `boxed_if_large` in lib.rs of the runtime.

use std::io;
use std::thread;
use std::time::Duration;

use futures_task::LocalSpawn;
use net::{Limits, TcpListener};
use runtime::{
    Handle, Nursery, Runtime, Started, WorkerOptions, block_on, nursery, scope, shield, spawn,
    spawn_named, timeout, workers, yield_now,
};

use crate::support::in_child_process;

const SIZE: usize = 256 << 10;
const STACK: usize = 2 << 20;

/// Holds a buffer over a wait, and gives its last byte.
async fn large() -> u8 {
    let mut buffer = [7; SIZE];
    std::hint::black_box(&mut buffer);
    yield_now().await;
    std::hint::black_box(&mut buffer)[SIZE - 1]
}

async fn large_child() -> io::Result<u8> {
    Ok(large().await)
}

/// Calls `way` on a thread with the usual stack. Each in a function of its own: a debug build gives each value of a
/// function a place on the stack, also those of other branches.
fn fits(name: &str, way: impl FnOnce() -> u8 + Send + 'static) {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(way);
    assert_eq!(thread.unwrap().join().unwrap(), 7, "{name}");
}

#[test]
fn a_future_of_256_kib_can_be_spawned_by_every_way_on_a_stack_of_2_mib() {
    in_child_process(|| {
        fits("block_on", || block_on(large()));
        fits("Runtime::block_on", || Runtime::new().unwrap().block_on(large()));
        fits("Runtime::spawn", || {
            let rt = Runtime::new().unwrap();
            let task = rt.spawn(large());
            rt.block_on(task).unwrap()
        });
        fits("spawn", || block_on(async { spawn(large()).await.unwrap() }));
        fits("spawn_named", || block_on(async { spawn_named("large", large()).await.unwrap() }));
        fits("Handle::spawn", || {
            block_on(async { Handle::current().spawn(large).unwrap().await.unwrap() })
        });
        fits("spawn_local_obj", || {
            block_on(async {
                let (give, given) = async_channel::bounded(1);
                let task = async move { give.send(large().await).await.unwrap() };
                Handle::current().spawn_local_obj(Box::new(task).into()).unwrap();
                given.recv().await.unwrap()
            })
        });
        fits("Nursery::spawn", || {
            let block = nursery(async |n| Ok(n.spawn(large_child()).await.unwrap()));
            block_on(block).unwrap()
        });
        fits("Nursery::spawn_named", || {
            let block = nursery(async |n| Ok(n.spawn_named("large", large_child()).await.unwrap()));
            block_on(block).unwrap()
        });
        fits("Nursery::start", || {
            let block = nursery(async |n: &Nursery<io::Error>| {
                let child = async |started: Started<u8>| {
                    let byte = large().await;
                    started.send(byte);
                    Ok(())
                };
                n.start(child).await.map_err(io::Error::other)
            });
            block_on(block).unwrap()
        });
        fits("Scope::spawn", || {
            let block = scope(async |s| Ok(s.spawn(large_child()).await.unwrap()));
            block_on(block).unwrap()
        });
        fits("timeout in a task", || {
            let minute = Duration::from_secs(60);
            block_on(async move { spawn(timeout(minute, large())).await.unwrap().unwrap() })
        });
        fits("shield", || block_on(async { shield(large()).await }));
    });
}

#[test]
fn workers_take_futures_of_256_kib_and_larger_ones_with_a_larger_stack() {
    in_child_process(|| {
        for output in workers(2, |_| large()).unwrap().join() {
            assert_eq!(output.unwrap(), 7);
        }
        let deep = WorkerOptions::new().stack_size(64 << 20).start(1, |_| async {
            let buffer = [7_u8; 16 << 20];
            std::hint::black_box(&buffer)[1]
        });
        assert_eq!(deep.unwrap().join().pop().unwrap().unwrap(), 7);
    });
}

#[test]
fn a_handler_of_256_kib_is_served_on_a_stack_of_2_mib() {
    in_child_process(|| {
        fits("serve", || {
            block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let (give, given) = async_channel::bounded(1);
                let serving = spawn(net::serve(listener, Limits::default(), async move |_, _| {
                    give.send(large().await).await.unwrap();
                }));
                let _client = std::net::TcpStream::connect(address).unwrap();
                let byte = given.recv().await.unwrap();
                serving.abort();
                byte
            })
        });
    });
}
