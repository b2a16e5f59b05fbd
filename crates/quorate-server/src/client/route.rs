//! Which server to ask next.

/// The most servers that are remembered.
const SERVERS_MAX: usize = 64;

/// The known servers, and the one to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    servers: Vec<String>,
    current: usize,
    follows: bool,
}

impl Route {
    pub(super) fn new(servers: impl IntoIterator<Item = String>) -> Self {
        let mut route = Self { servers: Vec::new(), current: 0, follows: true };
        for server in servers {
            route.add(&server);
        }
        route
    }

    /// One server, now and always.
    pub(super) fn pinned(server: &str) -> Self {
        Self { servers: vec![server.to_owned()], current: 0, follows: false }
    }

    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    /// The server to ask; an empty name, which nobody has, if none is known.
    pub(super) fn current(&self) -> String {
        self.servers.get(self.current).cloned().unwrap_or_default()
    }

    /// All servers, beginning with the one to ask.
    pub(super) fn servers(&self) -> Vec<String> {
        let mut servers = self.servers.clone();
        servers.rotate_left(self.current.min(self.servers.len()));
        servers
    }

    pub(super) fn add(&mut self, server: &str) {
        if !server.is_empty()
            && self.servers.len() < SERVERS_MAX
            && !self.servers.iter().any(|known| known == server)
        {
            self.servers.push(server.to_owned());
        }
    }

    /// Asks the leader from now on.
    pub(super) fn follow(&mut self, leader: &str) {
        if self.follows {
            self.add(leader);
            if let Some(at) = self.servers.iter().position(|known| known == leader) {
                self.current = at;
            }
        }
    }

    /// Leaves a server that did not serve, unless another request has done so. Whether there is another one to ask.
    pub(super) fn leave(&mut self, server: &str) -> bool {
        if self.current() == server {
            self.current = self.current.saturating_add(1).checked_rem(self.servers.len()).unwrap_or(0);
        }
        self.current() != server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(servers: &[&str]) -> Route {
        Route::new(servers.iter().map(|server| (*server).to_owned()))
    }

    #[test]
    fn the_leader_is_asked_once_it_is_known_and_left_when_it_fails() {
        let mut route = route(&["a", "b"]);
        route.follow("c");
        assert_eq!(route.servers(), ["c", "a", "b"]);
        assert!(route.leave("c"));
        assert_eq!(route.current(), "a");
        assert!(route.leave("c"), "another request has left it already");
        assert_eq!(route.current(), "a");
    }

    #[test]
    fn a_pinned_route_stays() {
        let mut route = Route::pinned("a");
        route.follow("b");
        assert!(!route.leave("a"));
        assert_eq!(route.servers(), ["a"]);
    }

    #[test]
    fn no_server_is_known_twice_and_none_beyond_the_limit() {
        let mut route = route(&["a", "a", ""]);
        assert_eq!(route.len(), 1);
        for number in 0..2 * SERVERS_MAX {
            route.add(&number.to_string());
        }
        assert_eq!(route.len(), SERVERS_MAX);
        assert_eq!(Route::new([]).current(), "");
    }
}
