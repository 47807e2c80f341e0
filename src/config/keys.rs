//! The command that looks after the keys of callers.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::Output;
use super::connection::ConnectionSettings;

/// Look after the keys by which services, jobs and people call a running daemon.
///
/// Exit code 1 if the daemon can't be reached or refuses.
#[derive(Clone, Debug, Args)]
pub struct KeysCommand {
    /// What to do.
    #[command(subcommand)]
    pub action: KeysAction,
}

/// What is done with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysAction {
    /// Create a key. Its secret is printed, this once.
    Create(CreateKey),
    /// List the keys, without their secrets.
    List(ListKeys),
    /// Give a key a new secret. It is printed, this once.
    Rotate(RotateKey),
    /// End a key at once and for good.
    Revoke(RevokeKey),
}

/// What a new key is to be.
#[derive(Clone, Debug, Args)]
pub struct CreateKey {
    /// The caller's name, as the history shows it.
    pub name: String,

    /// What the caller may call; once for each.
    #[arg(long = "scope", value_name = "SCOPE", value_enum, required = true)]
    pub scopes: Vec<KeyScope>,

    /// An organization that the caller is bound to; once for each. Without one the caller
    /// is bound to none.
    #[arg(long = "organization", value_name = "ID")]
    pub organizations: Vec<String>,

    /// After how long the key ends, such as `90d`, `12h`, `30m` or `45s`; by default never.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub expires_in: Option<Duration>,

    /// How the daemon is reached, and how the answer looks.
    #[command(flatten)]
    pub common: KeysCommon,
}

/// Which keys to list.
#[derive(Clone, Debug, Args)]
pub struct ListKeys {
    /// How the daemon is reached, and how the answer looks.
    #[command(flatten)]
    pub common: KeysCommon,
}

/// Which key gets a new secret.
#[derive(Clone, Debug, Args)]
pub struct RotateKey {
    /// The key's id.
    pub key: String,

    /// How long the secret before works as well, such as `24h`, at most `30d`; by default
    /// not at all.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub overlap: Option<Duration>,

    /// How the daemon is reached, and how the answer looks.
    #[command(flatten)]
    pub common: KeysCommon,
}

/// Which key ends.
#[derive(Clone, Debug, Args)]
pub struct RevokeKey {
    /// The key's id.
    pub key: String,

    /// How the daemon is reached, and how the answer looks.
    #[command(flatten)]
    pub common: KeysCommon,
}

/// What all of them take.
#[derive(Clone, Debug, Args)]
pub struct KeysCommon {
    /// How the daemon is reached.
    #[command(flatten)]
    pub connection: ConnectionSettings,

    /// How the answer looks.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What a caller may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyScope {
    /// Checks.
    Check,
    /// Managing teams on behalf of an actor.
    Manage,
    /// Acting as an operator.
    Operate,
}

/// Reads a time such as `90d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and its unit, such as `90d`, `12h`, `30m` or `45s`".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number = text
        .strip_suffix(unit)
        .and_then(|number| number.parse().ok());
    let number: u32 = number.ok_or_else(wrong)?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_its_unit() {
        assert_eq!(duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(duration("45s"), Ok(Duration::from_secs(45)));
        for wrong in [
            "",
            "d",
            "90",
            "1.5h",
            "-1h",
            "1w",
            "1 h",
            "1é",
            "99999999999d",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
