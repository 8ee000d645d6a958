//! Runs a server until its standard input ends: `cargo run -p forebay-stream --example serve -- ADDR [DATA_DIR]`.
//!
//! The first line of its output is the endpoint URL.

use std::io::{Read, Write};
use std::path::PathBuf;

use forebay_stream::{ServerConfig, StreamServer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let bind = args.next().as_deref().unwrap_or("127.0.0.1:0").parse()?;
    let data_dir = args.next().map(PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let config = ServerConfig {
            bind,
            data_dir,
            limits: false,
            ..ServerConfig::default()
        };
        let server = StreamServer::start(config).await?;
        writeln!(std::io::stdout(), "{}", server.endpoint_url())?;
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        server.shutdown().await;
        Ok(())
    })
}
