//! The calls that are served, by path.

/// How messages flow; the name is the metrics' `grpc_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ServerStream,
    BidiStream,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Unary => "unary",
            Kind::ServerStream => "server_stream",
            Kind::BidiStream => "bidi_stream",
        }
    }
}

macro_rules! methods {
    ($($variant:ident = $service:literal $name:literal $kind:ident;)*) => {
        /// A call that is served.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Method {
            $($variant,)*
        }

        impl Method {
            /// In order of their numbers.
            pub(crate) const ALL: &'static [Method] = &[$(Method::$variant,)*];

            /// The method of the path `/service/name`.
            pub(crate) fn find(path: &str) -> Option<Method> {
                match path {
                    $(concat!("/", $service, "/", $name) => Some(Method::$variant),)*
                    _ => None,
                }
            }

            pub(crate) fn service(self) -> &'static str {
                match self {
                    $(Method::$variant => $service,)*
                }
            }

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Method::$variant => $name,)*
                }
            }

            pub(crate) fn path(self) -> &'static str {
                match self {
                    $(Method::$variant => concat!("/", $service, "/", $name),)*
                }
            }

            pub(crate) fn kind(self) -> Kind {
                match self {
                    $(Method::$variant => Kind::$kind,)*
                }
            }
        }
    };
}

// Ordered by how often clients call them: paths are compared in this order.
methods! {
    Txn = "etcdserverpb.KV" "Txn" Unary;
    Range = "etcdserverpb.KV" "Range" Unary;
    Put = "etcdserverpb.KV" "Put" Unary;
    DeleteRange = "etcdserverpb.KV" "DeleteRange" Unary;
    RangeStream = "etcdserverpb.KV" "RangeStream" ServerStream;
    Compact = "etcdserverpb.KV" "Compact" Unary;
    Watch = "etcdserverpb.Watch" "Watch" BidiStream;
    LeaseGrant = "etcdserverpb.Lease" "LeaseGrant" Unary;
    LeaseRevoke = "etcdserverpb.Lease" "LeaseRevoke" Unary;
    LeaseKeepAlive = "etcdserverpb.Lease" "LeaseKeepAlive" BidiStream;
    LeaseTimeToLive = "etcdserverpb.Lease" "LeaseTimeToLive" Unary;
    LeaseLeases = "etcdserverpb.Lease" "LeaseLeases" Unary;
    MemberList = "etcdserverpb.Cluster" "MemberList" Unary;
    Alarm = "etcdserverpb.Maintenance" "Alarm" Unary;
    Status = "etcdserverpb.Maintenance" "Status" Unary;
    Defragment = "etcdserverpb.Maintenance" "Defragment" Unary;
    Hash = "etcdserverpb.Maintenance" "Hash" Unary;
    HashKv = "etcdserverpb.Maintenance" "HashKV" Unary;
    Authenticate = "etcdserverpb.Auth" "Authenticate" Unary;
    SpaceTop = "bowline.v1.Space" "Top" Unary;
    BudgetSet = "bowline.v1.Space" "BudgetSet" Unary;
    BudgetRemove = "bowline.v1.Space" "BudgetRemove" Unary;
    BudgetList = "bowline.v1.Space" "BudgetList" Unary;
    HealthCheck = "grpc.health.v1.Health" "Check" Unary;
    HealthList = "grpc.health.v1.Health" "List" Unary;
    HealthWatch = "grpc.health.v1.Health" "Watch" ServerStream;
}

impl Method {
    /// True if some method of this service is served.
    pub(crate) fn is_known_service(service: &str) -> bool {
        Method::ALL.iter().any(|method| method.service() == service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_method_and_no_other() {
        for &method in Method::ALL {
            assert_eq!(Method::find(method.path()), Some(method));
            assert_eq!(Method::find(&method.path()[1..]), None);
            assert_eq!(Method::find(&format!("{}/", method.path())), None);
            assert!(Method::is_known_service(method.service()));
        }
        assert!(!Method::is_known_service("etcdserverpb.Nothing"));
    }

    #[test]
    fn numbers_are_positions() {
        for (position, &method) in Method::ALL.iter().enumerate() {
            assert_eq!(method as usize, position);
        }
    }
}
