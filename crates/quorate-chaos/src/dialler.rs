//! Which of our processes is at the other end of a connection on this machine, by what Linux tells of sockets.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use crate::links::Place;

/// Whose socket `dialler` is, of a connection to `gate`. `None` if it belongs to none of them, or if this system does
/// not tell.
pub(crate) fn of(dialler: SocketAddr, gate: SocketAddr, pids: &BTreeMap<Place, u32>) -> Option<Place> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = inode(&table, dialler.port(), gate.port())?;
    let socket = format!("socket:[{inode}]");
    pids.iter().find(|(_, pid)| has_open(**pid, &socket)).map(|(place, _)| *place)
}

/// The number of the socket with these ports, in the table as the kernel prints it.
fn inode(table: &str, local: u16, remote: u16) -> Option<&str> {
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = fields.next()?.ends_with(&local) && fields.next()?.ends_with(&remote);
        found.then(|| fields.nth(6)).flatten()
    })
}

fn has_open(pid: u32, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_line_of_the_table_is_found_by_both_ports() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 41 1 0 20 4 30 10 -1\n\
            1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0 20 4 30 10 -1\n";
        assert_eq!(inode(table, 0xC350, 0x1F90), Some("42"));
        assert_eq!(inode(table, 0x1F90, 0xC350), Some("41"));
        assert_eq!(inode(table, 0x1F90, 0xC351), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_of_this_process_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = listener.local_addr().unwrap();
        let stream = TcpStream::connect(gate).unwrap();
        let dialler = stream.local_addr().unwrap();
        let own = BTreeMap::from([(1, 1), (4, std::process::id())]);
        assert_eq!(of(dialler, gate, &own).filter(|place| *place != 1), Some(4));
        assert_eq!(of(dialler, gate, &BTreeMap::new()), None);
    }
}
