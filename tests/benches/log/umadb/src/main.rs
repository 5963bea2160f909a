//! Appends events of 512 bytes to a UmaDB, each writer over a connection of its own with one append under way, and prints
//! how many a second were acknowledged, and the 99th percentile of their waits in milliseconds.
//!
//! `umadb-writers URL WRITERS MILLISECONDS`

use std::error::Error;
use std::time::{Duration, Instant};

use umadb_client::{AsyncUmaDbClient, UmaDbClient};
use umadb_dcb::{DcbEvent, DcbEventStoreAsync};

const ENTRY_BYTES: usize = 512;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    let [_, url, writers, time_ms] = words.as_slice() else {
        return Err("usage: umadb-writers URL WRITERS MILLISECONDS".into());
    };
    let time = Duration::from_millis(time_ms.parse()?);
    let mut clients = Vec::new();
    for _ in 0..writers.parse()? {
        clients.push(UmaDbClient::new(url.clone()).connect_async().await?);
    }
    let began = Instant::now();
    let end = began + time;
    let tasks: Vec<_> = clients.into_iter().map(|client| tokio::spawn(write(client, end))).collect();
    let mut waits_ms: Vec<f64> = Vec::new();
    for task in tasks {
        waits_ms.extend(task.await?.map_err(|error| error.to_string())?);
    }
    let seconds = began.elapsed().as_secs_f64();
    waits_ms.sort_by(f64::total_cmp);
    let p99_ms = waits_ms.get(waits_ms.len() * 99 / 100).ok_or("nothing was appended")?;
    println!("{} {p99_ms}", waits_ms.len() as f64 / seconds);
    Ok(())
}

async fn write(client: AsyncUmaDbClient, end: Instant) -> Result<Vec<f64>, umadb_dcb::DcbError> {
    let mut waits_ms = Vec::new();
    loop {
        let began = Instant::now();
        if began >= end {
            return Ok(waits_ms);
        }
        let mut event = DcbEvent::new();
        event.event_type = "bench".to_owned();
        event.data = vec![b'.'; ENTRY_BYTES];
        client.append(vec![event], None, None).await?;
        waits_ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
}
