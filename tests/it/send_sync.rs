//! Which types may cross threads? The table at the head of runtime/src/lib.rs, checked by the compiler.
//!
//! Yes is asserted by a bound, no by an ambiguity: a trait is implemented for all types and once more for those that are
//! `Send`, so naming it compiles only for a type that is not.
//!
//! That `timeout`'s future is not `Unpin` is not asserted: nobody can rely on a lack.
//!
//! Comes from: main.rs. Goes to: the compiler; nothing here runs but [`the_table_holds`], which says that it compiled.

use std::rc::Rc;

use runtime::instruments::{LongPoll, Snapshot, Statistics, TaskStatistics, TooLong, WaitingFor};
use runtime::process::{self, Command};
use runtime::process_pool::{self, Call, CallError, Functions, ProcessPool};
use runtime::testing::{Duplex, Hostile, TestClock};
use runtime::{
    AsyncSocket, CancelToken, Cancelled, Child, Elapsed, Errors, Gone, Handle, Interval, Job,
    JoinError, JoinHandle, NotStarted, Nursery, PanicPolicy, PipeReader, PipeWriter, PoolInUse,
    PoolSettings, PoolStats, RemoteHandle, Runtime, Scope, Shield, Signals, Sleep, Started, Stdin,
    TaskId, Unblock, UnblockError, timeout,
};

/// A type that is neither.
type Bound = Rc<()>;
/// A type that is `Send` and not `Sync`.
type Moved = std::cell::Cell<u8>;

/// Compiles if none of the types is of the trait.
macro_rules! never {
    ($bound:ident: $($type:ty),+ $(,)?) => {
        const _: () = {
            trait AmbiguousIf<A> { fn check() {} }
            impl<T: ?Sized> AmbiguousIf<()> for T {}
            struct Is;
            impl<T: ?Sized + $bound> AmbiguousIf<Is> for T {}
            let _ = ($(<$type as AmbiguousIf<_>>::check,)+);
        };
    };
}

macro_rules! always {
    ($($bound:ident)&+: $($type:ty),+ $(,)?) => {
        const _: () = {
            const fn check<T: ?Sized $(+ $bound)+>() {}
            $(check::<$type>();)+
        };
    };
}

always!(Send & Sync & Unpin: Handle, CancelToken, Cancelled, TaskId, PanicPolicy);
always!(Send & Sync & Unpin: RemoteHandle<u8>, RemoteHandle<Moved>);
never!(Send: RemoteHandle<Bound>);
never!(Sync: RemoteHandle<Bound>);
always!(Send & Sync & Unpin: Sleep, Interval);
always!(Send & Sync & Unpin: Unblock<u8>, Unblock<Moved>);
always!(Send & Sync & Unpin: Job, PoolSettings, PoolStats, PoolInUse);
never!(Send: Unblock<Bound>);
never!(Sync: Unblock<Bound>);
always!(Send & Sync & Unpin: JoinError, Elapsed, Gone, NotStarted, UnblockError, Errors<u8>);
never!(Send: Errors<Bound>);
never!(Sync: Errors<Bound>, Errors<Moved>);
never!(Send: Nursery<u8>, Scope<'static, u8>, Child<u8>, Started<u8>, Shield<u8>);
never!(Sync: Nursery<u8>, Scope<'static, u8>, Child<u8>, Started<u8>, Shield<u8>);
always!(Unpin: Nursery<u8>, Scope<'static, u8>, Child<u8>, Started<u8>, Shield<u8>);
always!(Send & Sync & Unpin: Statistics, Snapshot, TaskStatistics, TooLong, WaitingFor);
never!(Send: LongPoll);
never!(Sync: LongPoll);
always!(Unpin: LongPoll);
never!(Send: Runtime, JoinHandle<u8>, AsyncSocket<std::net::TcpStream>, Signals);
never!(Sync: Runtime, JoinHandle<u8>, AsyncSocket<std::net::TcpStream>, Signals);
always!(Unpin: Runtime, JoinHandle<u8>, AsyncSocket<std::net::TcpStream>, Signals);
always!(Send & Sync & Unpin: Stdin, Command);
never!(Send: process::Child, PipeReader, PipeWriter);
never!(Sync: process::Child, PipeReader, PipeWriter);
always!(Unpin: process::Child, PipeReader, PipeWriter);
always!(Send & Sync & Unpin: Functions, CallError, process_pool::Builder);
never!(Send: ProcessPool, Call);
never!(Sync: ProcessPool, Call);
always!(Unpin: ProcessPool, Call);
never!(Send: Duplex, Hostile, Rc<TestClock>, net::MemoryStream, net::MemoryListener, net::MemoryConnector);
never!(Sync: Duplex, Hostile, TestClock, net::MemoryStream, net::MemoryListener, net::MemoryConnector);
always!(Unpin: Duplex, Hostile, TestClock, net::MemoryStream, net::MemoryListener);
never!(Send: net::TcpStream, net::TcpListener, net::OwnedReadHalf, net::OwnedWriteHalf);
always!(Send & Sync & Unpin: net::ConnectOptions, net::ConnectErrors);
always!(Unpin: net::TcpStream, net::TcpListener, net::OwnedReadHalf, net::OwnedWriteHalf);
always!(Send & Sync & Unpin: net::UdpOptions, net::UnixOptions, net::Received);
never!(Send: net::UdpSocket, net::UnixDatagram, net::UnixListener, net::UnixStream, net::UnixIncoming<'static>);
never!(Sync: net::UdpSocket, net::UnixDatagram, net::UnixListener, net::UnixStream, net::UnixIncoming<'static>);
always!(Unpin: net::UdpSocket, net::UnixDatagram, net::UnixListener, net::UnixStream, net::UnixIncoming<'static>);
always!(Send & Sync & Unpin: net::Copied, net::CopyError, net::Ending, net::Side, net::LineError);
always!(Send & Sync & Unpin: net::Buffered<u8>, net::Lines<u8>, net::Split<u8>);
never!(Send: net::Buffered<Bound>, net::Lines<Bound>, net::Split<Bound>);

/// The futures of `timeout` and `CancelToken::run` cross if the one inside does.
fn timeouts() {
    fn crosses<T: Send + Sync>(_: &T) {}
    let deadline = std::time::Duration::from_secs(1);
    crosses(&timeout(deadline, std::future::ready(5)));
    crosses(&timeout(deadline, runtime::sleep(deadline)));
    crosses(&timeout(deadline, runtime::unblock(|| 5)));
    crosses(&timeout(deadline, CancelToken::new().cancelled()));
    crosses(&CancelToken::with_timeout(deadline).run(runtime::sleep(deadline)));
}

#[test]
fn the_table_holds() {
    timeouts();
}
