//! Settings of who may do what.

use crate::access::{Role, Roles};
use clap::Args;

/// Which roles there are beside the built-in ones.
#[derive(Debug, Clone, Default, Args)]
pub struct AccessSettings {
    /// A role of your own, as `reviewer=read+talk`: a name, and the actions `read`, `talk`, `edit`, `manage` that it allows.
    /// May be repeated, or several separated by commas. All fronts need the same ones.
    #[arg(long = "role", env = "STOA_ROLES", value_delimiter = ',')]
    pub own_roles: Vec<Role>,
}

impl AccessSettings {
    /// The built-in roles and the own ones.
    pub fn roles(&self) -> Roles {
        Roles::new(&self.own_roles)
    }

    /// Refuses a role that is given twice.
    pub fn check(&self) -> Result<(), String> {
        let mut names: Vec<&str> = self.own_roles.iter().map(Role::name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(format!("--role {} is given twice", twice[0])),
            None => Ok(()),
        }
    }
}
