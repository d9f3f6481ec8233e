//! Does the runtime keep its word? One binary, one module a behaviour.
//!
//! A test's name is a sentence that is true. A test counts (polls, drops, bytes, descriptors, allocations) instead of
//! sleeping for luck, has a deadline of its own (`support::within`), uses port 0 and the loopback alone, and where the
//! process itself is its subject it runs in a child process (`support::in_child_process`).
//!
//! Most of what goes wrong in runtimes has gone wrong before, in others. The list below is what their users suffered
//! from most, each with the test that carries its name:
//!
//! | pain                                        | test                                                        |
//! |---------------------------------------------|-------------------------------------------------------------|
//! | wake-ups lost in the scheduler              | `wakeups::no_wake_up_is_lost_in_the_scheduler`              |
//! | wakers that outlive the runtime             | `wakeups::wakers_outlive_the_runtime_in_peace`              |
//! | readiness lost with edge triggering         | `edges::no_readiness_is_lost_with_edge_triggering`          |
//! | wake-ups lost against the wait              | `cross_thread::no_wake_up_is_lost_against_the_wait`         |
//! | an accept loop that burns the CPU or dies   | `serve::the_accept_loop_survives_being_out_of_descriptors`  |
//! | a connect reported early, or its error lost | `tcp::a_connect_is_never_reported_early`                    |
//! | events of errors and hang-ups alone         | `edges::errors_and_hang_ups_alone_wake_both_directions`     |
//! | a pool that holds the exit hostage          | `pool::a_stuck_job_does_not_hold_up_the_exit`               |
//! | panics swallowed                            | `panic::no_panic_is_swallowed`                              |
//! | what dropping a handle means                | `spawn_join::what_the_end_of_a_handle_means`                |
//! | cancel safety unknown or wrong              | `cancel_points::every_wait_can_be_dropped_after_any_poll`   |
//! | starvation, and budgets                     | `fairness::a_task_that_wakes_itself_starves_nobody`         |
//! | timers early, overflowing, drifting         | `timers::no_timer_is_ever_early`                            |
//! | an idle loop that spins                     | `timers::an_idle_loop_sleeps`                               |
//! | races at the end                            | `drop_order::a_runtime_can_be_dropped_after_any_turn`       |
//! | a hidden thread for the reactor             | `cross_thread::no_thread_is_started_behind_the_user_s_back` |
//! | futures that are not `Send` as second class | `spawn_join::tasks_share_what_is_not_send`                  |
//! | mistaken identity of descriptors            | `edges::no_event_of_an_old_descriptor_reaches_a_new_one`    |
//!
//! (Two more pains are about cost alone, registrations per request and system calls per wait: see costs.rs.)
//!
//! Comes from: `cargo test`. Goes to: runtime, net, and the server's binary.

// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used)]
// A JoinHandle that leaves its block_on unawaited is what several tests are about.
#![allow(clippy::async_yields_async)]
// To clone a waker and wake the clone is another way to wake, and as such under test.
#![allow(clippy::waker_clone_wake)]

mod counting;
mod support;

mod buffered;
mod cancel;
mod cancel_points;
mod cancel_token;
mod channels;
mod connect;
mod copy;
mod costs;
mod cross_thread;
mod datagram;
mod deep;
mod descriptors;
mod drop_order;
mod edges;
mod empty_buffers;
mod examples;
mod fairness;
mod fork;
mod instruments;
mod large;
mod memory;
mod nesting;
mod nursery;
mod outside;
mod panic;
mod pool;
mod process;
mod process_pool;
mod readiness;
mod real_clients;
mod remote;
mod scope;
mod seeds;
mod seeds_course;
mod seeds_fetch;
mod seeds_servers;
mod send_sync;
mod serve;
mod server;
mod shield;
mod shutdown;
mod signals;
mod sockets;
mod spawn_join;
mod stdin;
mod stopped_threads;
mod tcp;
mod test_clock;
mod testing;
mod tidy;
mod timeout;
mod timers;
mod turn;
mod unix;
mod wakeups;
mod walkthrough;
