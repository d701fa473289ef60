//! `lazyblob serve` from outside.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::{Desk, Served, Written, get, htpasswd, image};

#[tokio::test]
async fn other_machines_are_let_in_only_on_purpose() {
    let desk = Desk::new();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let run = desk.run(&format!("serve --addr {address}")).await.exits(2);
        run.says(&["--htpasswd", "--anonymous"]);
    }
    let both = format!("serve --anonymous --htpasswd {}", desk.file("htpasswd", &htpasswd()).display());
    desk.run(&both).await.exits(2);
}

#[tokio::test]
async fn what_is_wrong_is_said_before_it_listens() {
    let desk = Desk::new();
    let served = Served::start(&desk, "").await;
    let taken = desk.run(&format!("serve --addr {}", served.host())).await.exits(1);
    taken.says(&[served.host(), "in use"]);
    let plain = desk.file("htpasswd", "mary:not-a-hash\n");
    let run = desk.run(&format!("serve --addr 127.0.0.1:0 --htpasswd {}", plain.display())).await.exits(1);
    run.says(&["line 1", "bcrypt"]);
    let none = desk.path("none.pem");
    let words = format!("--tls-cert {} --tls-key {}", none.display(), none.display());
    desk.run(&format!("serve --addr 127.0.0.1:0 {words}")).await.exits(1).says(&["none.pem"]);
    let file = desk.file("file", "");
    desk.run(&format!("serve --addr 127.0.0.1:0 {}", file.display())).await.exits(1).says(&["file"]);
}

#[tokio::test]
async fn a_layout_is_served_and_an_idle_client_does_not_hold_the_end_up() {
    let desk = Desk::new();
    let image = image(2, "app");
    Written::at(&desk, "store").image("registry.test/team/app:1", &image);
    let served = Served::start(&desk, &desk.path("store").display().to_string()).await;
    let host = served.host().to_owned();
    let digest = image.manifest.digest();
    assert!(get(&host, "/v2/").await.starts_with("HTTP/1.1 200"));
    assert!(get(&host, &format!("/v2/nobody/manifests/{digest}")).await.starts_with("HTTP/1.1 404"));
    desk.ok(&format!("copy {}:registry.test/team/app:1 {host}/new:1", desk.at("oci", "store"))).await;

    let idle = TcpStream::connect(&host).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(4), served.end("TERM")).await.expect("it ends soon");
    assert!(ended.exits(143).stdout.is_empty());
    assert!(TcpStream::connect(&host).await.is_err());
    drop(idle);
    // What came in is in the layout, next to what was there.
    let index = std::fs::read_to_string(desk.path("store/index.json")).unwrap();
    assert!(index.contains("registry.test/team/app:1") && index.contains("new:1"), "{index}");
}
