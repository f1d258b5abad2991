//! Who holds a port: so that "port taken" can name the process.

use std::{fs, net::TcpListener, path::Path};

/// A port that the stack needs and somebody else holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub port: u16,
    /// `name (pid 123)`, or that the owner cannot be seen.
    pub owner: String,
}

/// The ports of `wanted` that cannot be listened on.
#[must_use]
pub fn taken(wanted: &[u16]) -> Vec<Taken> {
    wanted
        .iter()
        .filter(|port| TcpListener::bind(("127.0.0.1", **port)).is_err())
        .map(|port| Taken {
            port: *port,
            owner: owner(*port).unwrap_or_else(|| "a process that this user cannot see".into()),
        })
        .collect()
}

/// The process that listens on a port, by the socket's inode (proc(5): `/proc/net/tcp`, `/proc/<pid>/fd`).
fn owner(port: u16) -> Option<String> {
    let inodes: Vec<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| listening_inodes(&text, port))
        .collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| links.iter().any(|link| Path::new(link) == target))
        });
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// Inodes of the sockets in state LISTEN (0A) on a port, from the text of `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
            let listens = *fields.get(3)? == "0A" && u16::from_str_radix(local_port, 16).ok()? == port;
            listens.then(|| fields.get(9)?.parse().ok()).flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_taken_port_names_its_owner() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = taken(&[port]);
        assert_eq!(taken.len(), 1);
        assert!(taken[0].owner.contains(&format!("(pid {})", std::process::id())), "{taken:?}");
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1
   1: 0100007F:2384 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1
   2: 0100007F:2385 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1
";
        assert_eq!(listening_inodes(table, 9092), [4711]);
    }
}
