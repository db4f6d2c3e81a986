//! `print-upload-dev token`: mints an access token of the token issuer.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args};
use uuid::Uuid;

use super::default_data_dir;
use crate::{
    issuer::{Subject, TokenIssuer},
    sample,
};

/// Who the token is for, and what it allows.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").required(true).args(["user", "application"]))]
pub(super) struct Token {
    /// Object id of a user.
    #[arg(long, requires = "scopes")]
    user: Option<String>,

    /// Client id of an application.
    #[arg(long, requires = "roles")]
    application: Option<String>,

    /// Delegated scope of the user, for example PrintJob.ReadWrite. Repeat it, or separate several with commas.
    #[arg(long = "scope", value_delimiter = ',', conflicts_with = "application")]
    scopes: Vec<String>,

    /// Role of the application, for example PrintJob.ReadWrite.All. Repeat it, or separate several with commas.
    #[arg(long = "role", value_delimiter = ',', conflicts_with = "user")]
    roles: Vec<String>,

    /// Tenant, a GUID.
    #[arg(long, default_value_t = sample::TENANT)]
    tenant: Uuid,

    /// How long the token is valid.
    #[arg(long, default_value = "12h", value_parser = humantime::parse_duration)]
    lifetime: Duration,

    /// Folder of `up` or of `issuer`, which holds the issuer's keys [default: as for `up`].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl Token {
    /// Prints the token.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let data_dir = self.data_dir.map_or_else(default_data_dir, Ok)?;
        let issuer = TokenIssuer::of_folder(&data_dir)?;
        let subject = match (self.user, self.application) {
            (Some(oid), _) => Subject::User { oid, scopes: self.scopes },
            (None, Some(app_id)) => Subject::Application { app_id, roles: self.roles },
            (None, None) => anyhow::bail!("give --user or --application"),
        };
        println!("{}", issuer.issue(self.tenant, &subject, self.lifetime)?);
        Ok(())
    }
}
