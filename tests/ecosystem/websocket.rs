//! WebSockets: examples/websocket.rs with tungstenite's client over blocking sockets, and with one of Python's own.
//!
//! Comes from: main.rs. Goes to: examples/websocket.rs.

use std::net::TcpStream;

use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, WebSocket};
use async_tungstenite::tungstenite::{Error, Message, client as handshake};

use crate::support::within;
use crate::{Server, client, noise, source};

#[allow(dead_code, reason = "its main")]
#[path = "../examples/websocket.rs"]
mod websocket_server;

use websocket_server::{LARGEST, serve_websockets};

fn connect(server: &Server) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(server.address).unwrap();
    handshake(format!("ws://{}/", server.address), stream).unwrap().0
}

#[test]
fn messages_come_back_as_they_went() {
    within(60, || {
        let server = Server::start(serve_websockets);
        let mut socket = connect(&server);
        for message in
            [Message::text("hello, w\u{f6}rld"), Message::text(""), Message::binary(noise(LARGEST))]
        {
            socket.send(message.clone()).unwrap();
            assert!(socket.read().unwrap() == message);
        }
        socket.send(Message::Ping("are you there?".into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong("are you there?".into()));
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "enough".into() };
        socket.close(Some(goodbye.clone())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Close(Some(goodbye)), "answered in kind");
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)), "and then the end");
        assert_eq!(server.end().accepted, 1);
    });
}

#[test]
fn a_message_beyond_the_limit_ends_its_connection_alone() {
    within(60, || {
        let server = Server::start(serve_websockets);
        let (mut greedy, mut modest) = (connect(&server), connect(&server));
        // The server leaves while we still write, or before we read.
        let sent = greedy.send(Message::binary(noise(LARGEST + 1)));
        assert!(sent.is_err() || greedy.read().is_err(), "it came back");
        modest.send(Message::text("still here")).unwrap();
        assert_eq!(modest.read().unwrap(), Message::text("still here"));
        drop((greedy, modest));
        server.end();
    });
}

#[test]
fn python_s_frames_by_hand_are_understood() {
    within(60, || {
        let server = Server::start(serve_websockets);
        let port = server.address.port().to_string();
        let script = source("websocket_client.py");
        let Some(text) = client("python3", &[&script, "127.0.0.1", &port]) else { return };
        assert_eq!(text, "text, pieces, binary, ping, close: all as it should be\n");
        server.end();
    });
}
