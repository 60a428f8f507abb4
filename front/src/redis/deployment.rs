//! What the Redis URL says of the servers: one, some that sentinels watch, or a cluster.

use super::layout::Layout;
use crate::settings::Secret;
use crate::tls;
use fred::types::config::{Config, Server, ServerConfig, TlsConnector};
use std::path::PathBuf;

/// The form of every URL that is understood.
const FORMS: &str = "the Redis URL is not of the form redis://[user:password@]host:port, \
                     redis-sentinel://[user:password@]host:port?node=host:port&sentinelServiceName=name, or \
                     redis-cluster://[user:password@]host:port?node=host:port (for TLS rediss, rediss-sentinel, rediss-cluster)";

/// How the servers are reached.
#[derive(Debug)]
pub struct Access {
    /// One of the forms that the settings name.
    pub url: Secret,
    /// The password, if it is not in the URL.
    pub password: Option<Secret>,
    /// The certificates of whoever vouches for the servers, if not the system's.
    pub authorities: Option<PathBuf>,
}

impl Access {
    fn config(&self) -> Result<Config, String> {
        let url = self.url.reveal();
        let (is_secure, rest) = match (url.strip_prefix("rediss"), url.strip_prefix("redis")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(FORMS.into()),
        };
        if !["://", "-sentinel://", "-cluster://"].iter().any(|form| rest.starts_with(form)) {
            return Err(FORMS.into());
        }
        if self.authorities.is_some() && !is_secure {
            return Err("--redis-ca is for rediss://: over redis:// nobody would be checked".into());
        }
        // The library's message could repeat the URL, and with it the password.
        let mut config = Config::from_url(&format!("redis{rest}")).map_err(|_| FORMS.to_owned())?;
        if let Some(password) = &self.password {
            config.password = Some(password.reveal().to_owned());
        }
        if is_secure {
            let connector = TlsConnector::Rustls(tls::client(self.authorities.as_deref())?.into());
            config.tls = Some(connector.into());
        }
        if config.database.is_some_and(|database| database != 0) {
            return Err("rooms are kept in database 0: leave the database out of the Redis URL".to_owned());
        }
        Ok(config)
    }
}

/// Where the layout comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// It never changes.
    Fixed(Layout),
    /// These sentinels say which server is the primary of `service`.
    Sentinels { hosts: Vec<Server>, service: String },
    /// These nodes know the others.
    Cluster(Vec<Server>),
}

/// Servers, and how to talk to each of them.
#[derive(Debug, Clone)]
pub(super) struct Deployment {
    pub(super) source: Source,
    /// User, password, TLS: the same for all servers that hold rooms.
    base: Config,
    /// The same for sentinels.
    sentinels: Config,
}

impl Deployment {
    /// Reads a URL. What is wrong with it is not repeated: it may hold a password.
    pub(super) fn of(access: &Access) -> Result<Self, String> {
        let base = access.config()?;
        let mut sentinels = base.clone();
        let source = match &base.server {
            ServerConfig::Centralized { server } => Source::Fixed(Layout::one(server.clone())),
            ServerConfig::Clustered { hosts, .. } => Source::Cluster(hosts.clone()),
            ServerConfig::Sentinel { hosts, service_name, username, password } => {
                (sentinels.username, sentinels.password) = (username.clone(), password.clone());
                Source::Sentinels { hosts: hosts.clone(), service: service_name.clone() }
            }
        };
        Ok(Deployment { source, base, sentinels })
    }

    /// How to connect to a server that may hold rooms.
    pub(super) fn server(&self, server: &Server) -> Config {
        centralized(&self.base, server)
    }

    /// How to connect to a sentinel.
    pub(super) fn sentinel(&self, server: &Server) -> Config {
        Config { database: None, ..centralized(&self.sentinels, server) }
    }
}

fn centralized(config: &Config, server: &Server) -> Config {
    Config { server: ServerConfig::Centralized { server: server.clone() }, ..config.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Deployment, String> {
        Deployment::of(&Access { url: Secret::new(url), password: None, authorities: None })
    }

    #[test]
    fn the_url_says_what_there_is() {
        let source = |url: &str| parse(url).unwrap().source;
        assert!(
            matches!(source("redis://:pw@h:7"), Source::Fixed(layout) if layout == Layout::one(Server::new("h", 7)))
        );
        assert!(matches!(source("redis-cluster://h:7?node=i:8"), Source::Cluster(hosts) if hosts.len() == 2));
        let Source::Sentinels { hosts, service } =
            source("redis-sentinel://h:7?node=i:8&node=j:9&sentinelServiceName=rooms")
        else {
            panic!("these are sentinels")
        };
        assert_eq!((hosts.len(), service.as_str()), (3, "rooms"));
    }

    #[test]
    fn a_url_that_is_not_understood_is_not_repeated() {
        for url in ["http://hunter2@h", "redis-sentinel://:hunter2@h:1", "redis://:hunter2@h:7/3", "hunter2"] {
            let error = parse(url).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn sentinels_have_a_password_of_their_own() {
        let deployment = parse("redis-sentinel://:data@h:7?sentinelServiceName=m&sentinelPassword=watch").unwrap();
        let (server, sentinel) = (Server::new("x", 1), Server::new("h", 7));
        assert_eq!(deployment.server(&server).password.as_deref(), Some("data"));
        assert_eq!(deployment.sentinel(&sentinel).password.as_deref(), Some("watch"));
    }
}
