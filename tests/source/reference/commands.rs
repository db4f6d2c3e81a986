//! docs/reference/commands.md, from the help of both programs.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

const INTRODUCTION: &str = "\
# Command and configuration reference

<!-- Generated from the programs' --help: run `make docs`. -->

Every option can be given as a flag or, where one is named, as an environment variable. The flag takes precedence.
Durations are written `90s`, `10m`, `1h 30m`.
";

pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let programs = [
        ("print-upload", print_upload::cli::Cli::command()),
        ("print-upload-dev", print_upload_dev::cli::Cli::command()),
    ];
    for (name, mut program) in programs {
        program.build();
        write_command(&mut page, &program, name);
    }
    page
}

fn write_command(page: &mut String, command: &Command, name: &str) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "\n## {name}\n\n{about}\n");
    // Global options are listed once, at the top.
    let is_subcommand = name.contains(' ');
    let is_listed = |arg: &&Arg| {
        let is_listed_above = is_subcommand && arg.is_global_set();
        !arg.is_hide_set() && !is_listed_above && !["help", "version"].contains(&arg.get_id().as_str())
    };
    for (position, arg) in command.get_arguments().filter(is_listed).enumerate() {
        page.push_str(if position == 0 { "\n" } else { "" });
        let _ = writeln!(page, "{}", line_of(arg));
    }
    if let Some(more) = command.get_after_long_help() {
        let _ = write!(page, "\n```text\n{more}\n```\n");
    }
    for subcommand in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        write_command(page, subcommand, &format!("{name} {}", subcommand.get_name()));
    }
}

fn line_of(arg: &Arg) -> String {
    let value = arg.get_value_names().map(|names| format!("<{}>", names.join("> <"))).unwrap_or_default();
    let takes_value = arg.get_action().takes_values();
    let flag = match (arg.get_long(), takes_value) {
        (Some(long), true) => format!("--{long} {value}"),
        (Some(long), false) => format!("--{long}"),
        (None, _) => value,
    };
    let mut facts = Vec::new();
    if let Some(env) = arg.get_env() {
        facts.push(format!("`{}`", env.to_string_lossy()));
    }
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| takes_value && !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        facts.push(format!("one of {}", values.join(", ")));
    }
    if takes_value && !defaults.is_empty() && !arg.is_hide_default_value_set() {
        facts.push(format!("default {}", defaults.join(", ")));
    }
    if arg.is_required_set() {
        facts.push("required".into());
    }
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join("; ")) };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    format!("- `{flag}`{facts}: {}", help.replace('\n', " "))
}
