//! `edgeld completions`: what shells need to complete command lines.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  edgeld completions bash > /etc/bash_completion.d/edgeld
  edgeld completions zsh > ~/.zfunc/_edgeld
  edgeld completions fish > ~/.config/fish/completions/edgeld.fish";

/// Prints what a shell needs to complete command lines
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints it for this command line.
///
/// # Errors
/// When standard output is closed.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> Result<(), Exit> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "edgeld", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script).map_err(Exit::output)
}
