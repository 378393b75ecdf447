//! What commands that call a server have in common: where it is, certificates, the form of what they print.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use client::{Client, Credentials, Options, Tls};
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
        .arg(
            Arg::new("insecure-skip-tls-verify")
                .long("insecure-skip-tls-verify")
                .action(ArgAction::SetTrue)
                .help("Take any certificate of the server: whoever stands between can read and change everything"),
        )
        .arg(
            Arg::new("user")
                .long("user")
                .value_name("NAME[:PASSWORD]")
                .env("ETCDCTL_USER")
                .hide_env_values(true)
                .help("Who asks, if the server has authentication"),
        )
        .arg(
            Arg::new("password")
                .long("password")
                .requires("user")
                .env("ETCDCTL_PASSWORD")
                .hide_env_values(true)
                .help("Password of --user, if that does not hold it"),
        )
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
    Client::connect(&options(matches)).await.map_err(|error| error.to_string())
}

pub fn options(matches: &ArgMatches) -> Options {
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let user = matches.get_one::<String>("user").map(|user| user.split_once(':').unwrap_or((user, "")));
    let password = matches.get_one::<String>("password");
    Options {
        endpoints: matches.get_many::<String>("endpoints").into_iter().flatten().cloned().collect(),
        tls: Tls {
            ca_file: path("cacert"),
            cert_file: path("cert"),
            key_file: path("key"),
            insecure_skip_verify: matches.get_flag("insecure-skip-tls-verify"),
        },
        credentials: user.map(|(name, given)| Credentials {
            name: name.to_owned(),
            password: password.map_or(given, String::as_str).to_owned(),
        }),
        timeout: TIMEOUT,
    }
}

/// Runs a command that waits for answers.
pub fn block_on(command: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("start: {error}"))?.block_on(command)
}
