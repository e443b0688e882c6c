//! For tests: an S3 server that has every bucket, and nothing in any of them.
use std::io;

use model::{BucketLookup, Store};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::{Access, access::tests::credentials};

/// Its clock stands still.
const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
/// What it says of any folder.
const NOTHING: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";

/// A repository's place on such a server, as long as the test lasts.
pub(crate) async fn access() -> Access {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(answer(connection));
        }
    });
    let store = Store {
        url,
        bucket: "backups".to_owned(),
        prefix: "prod".to_owned(),
        region: "eu-central-1".to_owned(),
        lookup: BucketLookup::Auto,
    };
    Access { store, credentials: credentials(), ca_file: None }
}

async fn answer(connection: TcpStream) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let (mut asked, mut line) = (String::new(), String::new());
    connection.read_line(&mut asked).await?;
    // An empty line ends the question.
    while connection.read_line(&mut line).await? > "\r\n".len() {
        line.clear();
    }
    let is_listing = asked.contains("list-type=2");
    let (status, body) = if is_listing { ("200 OK", NOTHING) } else { ("404 Not Found", "") };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nDate: {DATE}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await
}
