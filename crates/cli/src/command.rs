//! The level above the flags: which product of the binary is meant. The name that it was called by decides first, so
//! that a symbolic link makes it etcd; then clap reads the sub-command.

use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::Path;

/// What to do. Server arguments are not read yet: they are in etcd's language (see `flags`).
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Server {
        program: String,
        arguments: Vec<String>,
    },
    Version,
    /// Print the reference page of the server's flags.
    Flags,
    /// Who fills the store.
    Top(ArgMatches),
    /// Limits of prefixes.
    Budget(ArgMatches),
    /// What keeps a control plane from booting.
    Doctor(ArgMatches),
    /// Work on the directory of a stopped member.
    Util(ArgMatches),
    /// Something of etcd's that is not there yet; its name.
    Missing(String),
}

/// `arguments` begin with the program's own name. Errors are clap's: they know how to print themselves and their exit
/// code.
pub fn read(arguments: &[String]) -> Result<Action, clap::Error> {
    let called = arguments.first().and_then(|path| Path::new(path).file_name()).and_then(|name| name.to_str());
    if let Some(tool @ ("etcdctl" | "etcdutl")) = called {
        return Ok(Action::Missing(tool.to_owned()));
    }
    if called == Some("etcd") {
        if let Some(proxy @ ("gateway" | "grpc-proxy")) = arguments.get(1).map(String::as_str) {
            return Ok(Action::Missing(format!("etcd {proxy}")));
        }
        let arguments = arguments.get(1..).unwrap_or_default().to_vec();
        return Ok(Action::Server { program: "etcd".to_owned(), arguments });
    }
    let matches = command().try_get_matches_from(arguments)?;
    Ok(match matches.subcommand() {
        Some(("server", server)) => {
            Action::Server { program: "bowline server".to_owned(), arguments: server_arguments(server) }
        }
        Some(("flags", _)) => Action::Flags,
        Some(("top", matches)) => Action::Top(matches.clone()),
        Some(("budget", matches)) => Action::Budget(matches.clone()),
        Some(("doctor", matches)) => Action::Doctor(matches.clone()),
        Some(("util", matches)) => Action::Util(matches.clone()),
        // The only one left; clap refuses others, and none.
        _ => Action::Version,
    })
}

fn command() -> Command {
    let flags = Arg::new("flags")
        .action(ArgAction::Append)
        .num_args(0..)
        .allow_hyphen_values(true)
        .trailing_var_arg(true)
        .help("etcd's flags; --help lists them");
    let server = Command::new("server").about("Run a member").disable_help_flag(true).arg(flags);
    Command::new("bowline")
        .about("A store that Kubernetes can stand on: it speaks the etcd v3 API")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(server)
        .subcommand(crate::top::command())
        .subcommand(crate::budget::command())
        .subcommand(crate::doctor::command())
        .subcommand(crate::salvage::command())
        .subcommand(Command::new("version").about("Show the version"))
        .subcommand(Command::new("flags").about("Print the reference page of the server's flags, as Markdown"))
}

fn server_arguments(server: &ArgMatches) -> Vec<String> {
    server.get_many::<String>("flags").map(|flags| flags.cloned().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|argument| (*argument).to_owned()).collect()
    }

    #[test]
    fn a_link_called_etcd_takes_etcds_command_line() {
        let action = read(&strings(&["/usr/local/bin/etcd", "--name", "a"])).expect("valid");
        assert_eq!(action, Action::Server { program: "etcd".to_owned(), arguments: strings(&["--name", "a"]) });
    }

    #[test]
    fn what_is_missing_is_not_taken_for_something_else() {
        for (line, name) in [(&["etcdctl", "get"][..], "etcdctl"), (&["/x/etcd", "gateway", "start"], "etcd gateway")] {
            assert_eq!(read(&strings(line)).expect("known"), Action::Missing(name.to_owned()));
        }
    }

    #[test]
    fn the_server_reads_its_arguments_itself() {
        for arguments in [&["--help"][..], &["-h"], &["-name=a", "--version", "left"], &[]] {
            let line = strings(&[&["bowline", "server"], arguments].concat());
            let expected = Action::Server { program: "bowline server".to_owned(), arguments: strings(arguments) };
            assert_eq!(read(&line).expect("valid"), expected);
        }
    }

    #[test]
    fn other_commands_are_claps() {
        assert_eq!(read(&strings(&["bowline", "version"])).expect("valid"), Action::Version);
        assert_eq!(read(&strings(&["bowline", "flags"])).expect("valid"), Action::Flags);
        for arguments in [&["bowline"][..], &["bowline", "serve"], &["bowline", "--nope"], &["bowline", "version", "x"]]
        {
            assert_eq!(read(&strings(arguments)).expect_err("invalid").exit_code(), 2);
        }
    }
}
