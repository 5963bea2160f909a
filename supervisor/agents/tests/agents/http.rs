//! The role of pages, against a server on this machine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::agent::{Agent, code, once};

fn serve(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = first.split(' ').nth(1).unwrap_or_default();
    let answer = match path {
        "/" => "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        "/chunks" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned()
        }
        "/head" => format!("HTTP/1.1 200 OK\r\n\r\n{first}\n{}", head.join("\n")),
        "/moved" => "HTTP/1.1 301 Gone\r\nLocation: http://other.example/\r\n\r\n".to_owned(),
        "/large" => format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000)),
        "/never" => {
            std::thread::sleep(Duration::from_secs(120));
            String::new()
        }
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    };
    let _ = stream.write_all(answer.as_bytes());
}

/// A server for as long as the tests run; its port.
pub fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(|| serve(stream));
        }
    });
    port
}

#[test]
fn pages_come_whole_from_hosts_that_are_listed() {
    let port = server();
    let listed = format!("127.0.0.1:{port}");
    let get = ["http", "get", "--host", &listed];
    let at = |path: &str| json!({"url": format!("http://{listed}{path}")});
    let page = once(&get, &at("/")).unwrap();
    assert_eq!((&page["status"], &page["text"]), (&json!(200), &json!("hello")));
    assert_eq!(page["headers"]["content-type"], "text/plain");
    assert_eq!(once(&get, &at("/chunks")).unwrap()["text"], "hello");
    let head = once(&get, &at("/head")).unwrap();
    let said = head["text"].as_str().unwrap();
    assert!(said.starts_with("GET /head HTTP/1.1\n") && said.contains(&format!("Host: {listed}")), "{said}");
    // A redirection is told, not followed.
    assert_eq!(once(&get, &at("/moved")).unwrap()["headers"]["location"], "http://other.example/");
    let (failed, message) = once(&get, &at("/large")).unwrap_err();
    assert!(failed == "failed" && message.contains("more than 32768"), "{message}");
    for (url, expected) in [
        ("http://localhost/", "denied"),
        ("http://127.0.0.1:1/", "denied"),
        ("http://127.0.0.2/", "denied"),
        ("https://127.0.0.1/", "input"),
        ("http://127.0.0.1@evil.example/", "input"),
        ("file:///etc/passwd", "input"),
    ] {
        assert_eq!(code(once(&get, &json!({"url": url}))), expected, "{url}");
    }
}

#[test]
fn servers_that_do_not_answer_are_waited_for_so_long_and_no_longer() {
    let port = server();
    let check = ["http", "check", "--host", "127.0.0.1"];
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    assert_eq!(once(&check, &json!({"url": at("/")})).unwrap()["is_up"], true);
    let missing = once(&check, &json!({"url": at("/gone")})).unwrap();
    assert_eq!((&missing["is_up"], &missing["status"]), (&json!(false), &json!(404)));
    assert_eq!(once(&check, &json!({"url": at("/gone"), "status": 404})).unwrap()["is_up"], true);
    let began = Instant::now();
    let late = once(&check, &json!({"url": at("/never"), "seconds": 1})).unwrap();
    assert_eq!(late, json!({"is_up": false, "why": "the server took too long"}));
    assert!(began.elapsed() < Duration::from_secs(30));
    // Nobody listens at a port that was let go of.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let down = once(&check, &json!({"url": format!("http://127.0.0.1:{free}/")})).unwrap();
    assert_eq!(down["is_up"], false);
    let get = ["http", "get", "--host", "127.0.0.1"];
    assert_eq!(code(once(&get, &json!({"url": format!("http://127.0.0.1:{free}/")}))), "unavailable");
    let mut agent = Agent::start(&get);
    agent.task("t1", &json!({"url": at("/never"), "seconds": 100}));
    agent.beats(1);
    agent.cancel("t1");
    assert_eq!(code(agent.end_of("t1")), "cancelled");
    agent.end();
}
