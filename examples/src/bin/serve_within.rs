//! A server inside an application of one's own: a cluster, a model, and HTTP on any free port. The
//! application goes on as it likes, and asks its own server as any client would.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use edgeld::Cluster;
use edgeld::serve::{Options, Server, Specification};
use edgeld_examples::own_cluster;
use edgeld_runtime::models;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let cluster = Cluster::builder()
        .name(own_cluster())
        .home(home.path())
        .threads(1)
        .alone() // or .key_file("cluster.key"), for the devices of the LAN
        .discover()
        .await?;

    let model = models::open("vgg11?size=32&classes=10", &models::Options::default())?;
    let options = Options {
        http: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        grpc: None,
        queue: 4,
        ..Options::default()
    };
    let server = Server::start(&cluster, vec![Specification::new("net", model)], options).await?;
    println!("http://{}/", server.http());

    let address = server.http();
    let answer = tokio::task::spawn_blocking(move || about(address)).await??;
    println!("{answer}");
    assert!(answer.contains(r#""shape":[1,3,32,32]"#));

    server.stop().await;
    cluster.shutdown().await;
    Ok(())
}

/// What the server says of its model.
fn about(server: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    write!(stream, "GET /v2/models/net HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().last().unwrap_or_default().to_owned())
}
