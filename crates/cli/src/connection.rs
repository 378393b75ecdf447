//! What commands that call a server have in common: where it is, certificates, the form of what they print.

use clap::{Arg, ArgMatches, Command, value_parser};
use client::{Client, Options, Tls};
use std::path::PathBuf;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The arguments that say where the server is, with etcdctl's names and variables.
pub fn arguments(command: Command) -> Command {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
    };
    command
        .arg(
            Arg::new("endpoints")
                .long("endpoints")
                .value_delimiter(',')
                .default_value("127.0.0.1:2379")
                .env("ETCDCTL_ENDPOINTS")
                .help("Servers to ask; the first that answers is used"),
        )
        .arg(file("cacert", "CA that signed the server's certificate, PEM").env("ETCDCTL_CACERT"))
        .arg(file("cert", "Certificate shown to the server, PEM").env("ETCDCTL_CERT"))
        .arg(file("key", "Private key of --cert, PEM").env("ETCDCTL_KEY"))
}

pub fn write_out() -> Arg {
    Arg::new("write-out")
        .long("write-out")
        .short('o')
        .value_parser(["table", "json"])
        .default_value("table")
        .help("Form of the picture; as JSON it is one line")
}

/// Connects as the arguments say. The error is one sentence.
pub async fn connect(matches: &ArgMatches) -> Result<Client, String> {
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let options = Options {
        endpoints: matches.get_many::<String>("endpoints").into_iter().flatten().cloned().collect(),
        tls: Tls { ca_file: path("cacert"), cert_file: path("cert"), key_file: path("key"), ..Tls::default() },
        timeout: TIMEOUT,
        ..Options::default()
    };
    Client::connect(&options).await.map_err(|error| error.to_string())
}

/// Runs a command that waits for answers.
pub fn block_on(command: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("start: {error}"))?.block_on(command)
}
