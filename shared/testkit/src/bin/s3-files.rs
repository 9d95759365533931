//! Serves the files of a directory as one S3 bucket, for benchmarks and experiments. At exit it prints how many requests
//! it served.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Parser;
use jetline_testkit::s3::Endpoint;
use tokio::net::TcpListener;

/// Serves the files of a directory, as they are now, as one S3 bucket.
#[derive(Parser)]
#[command(name = "s3-files")]
struct Config {
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// The bucket's name.
    #[arg(long, value_name = "NAME", default_value = "files")]
    bucket: String,
    /// The access key id that clients must use.
    #[arg(long, env = "AWS_ACCESS_KEY_ID", default_value = "jetline")]
    access_key: String,
    /// The secret access key.
    #[arg(
        long,
        env = "AWS_SECRET_ACCESS_KEY",
        hide_env_values = true,
        default_value = "jetline-secret"
    )]
    secret_key: String,
    /// The directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let endpoint = Endpoint::new(&config.access_key, &config.secret_key);
    endpoint.create_bucket(&config.bucket);
    let files = put_files(&endpoint, &config.bucket, &config.directory, "")?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    eprintln!("{files} files as s3://{} on http://{address}", config.bucket);
    tokio::select! {
        ended = endpoint.clone().serve(listener) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    let (lists, gets) = (endpoint.lists(), endpoint.gets());
    eprintln!("served {lists} lists and {gets} gets");
    Ok(())
}

fn put_files(
    endpoint: &Endpoint,
    bucket: &str,
    directory: &Path,
    prefix: &str,
) -> anyhow::Result<usize> {
    let mut files = 0;
    let entries = fs::read_dir(directory);
    for entry in entries.with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} is not UTF-8", path.display()))?;
        let key = format!("{prefix}{name}");
        if path.is_dir() {
            files += put_files(endpoint, bucket, &path, &format!("{key}/"))?;
        } else {
            endpoint.put_file(bucket, &key, &path)?;
            files += 1;
        }
    }
    Ok(files)
}
