//! What a command asks a daemon.

use clap::Args;

use super::Output;
use super::connection::ConnectionSettings;

/// Who wants to do what to what.
#[derive(Clone, Debug, Args)]
pub struct QuestionSettings {
    /// Where the daemon is.
    #[command(flatten)]
    pub connection: ConnectionSettings,

    /// The organization in which the right is asked for.
    #[arg(long, value_name = "ID")]
    pub organization: String,

    /// Who wants to act: the user's id.
    #[arg(long, value_name = "ID")]
    pub principal: String,

    /// An action of the catalog, such as `DeployApp`.
    #[arg(long, value_name = "ACTION")]
    pub action: String,

    /// What it is to be done to, such as `Application:shop`; by default the organization.
    #[arg(long, value_name = "TYPE:ID")]
    pub resource: Option<String>,

    /// The project that the resource lies in.
    #[arg(long, value_name = "ID", default_value = "")]
    pub project: String,

    /// The user who owns the resource.
    #[arg(long, value_name = "ID", default_value = "")]
    pub owner: String,

    /// What else is said of the resource, as a JSON object.
    #[arg(long, value_name = "JSON")]
    pub attributes: Option<String>,

    /// The circumstances, as a JSON object.
    #[arg(long, value_name = "JSON")]
    pub context: Option<String>,

    /// Answer from this revision or a later one.
    #[arg(long, value_name = "REVISION", default_value = "")]
    pub at_least: String,

    /// How the answer looks.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}
