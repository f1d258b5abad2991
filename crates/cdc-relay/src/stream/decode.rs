//! Stand-in until the pgoutput crate lands.
use model::{cell::Cell, lsn::Lsn};

pub struct Begin { pub final_lsn: Lsn, pub commit_time_us: i64, pub xid: u32 }
pub struct Commit { pub end_lsn: Lsn }
pub struct RelColumn { pub key: bool, pub name: String, pub type_oid: u32, pub typmod: i32 }
pub struct Relation { pub id: u32, pub namespace: String, pub name: String, pub replica_identity: u8, pub columns: Vec<RelColumn> }
pub struct Tuple<'a> { data: &'a [u8], count: usize }
pub struct Insert<'a> { pub relation_id: u32, pub new: Tuple<'a> }
pub struct Update<'a> { pub relation_id: u32, pub old: Option<Tuple<'a>>, pub new: Tuple<'a> }
pub struct Delete<'a> { pub relation_id: u32, pub old: Tuple<'a> }
pub struct Truncate { ids: Vec<u32> }
impl Truncate { pub fn relation_ids(&self) -> impl Iterator<Item = u32> { self.ids.iter().copied() } }
pub enum Message<'a> { Begin(Begin), Commit(Commit), Relation(Relation), Insert(Insert<'a>), Update(Update<'a>), Delete(Delete<'a>), Truncate(Truncate), Other }

struct R<'a>(&'a [u8]);
type Res<T> = Result<T, &'static str>;
impl<'a> R<'a> {
    fn take(&mut self, n: usize) -> Res<&'a [u8]> { let (a, b) = self.0.split_at_checked(n).ok_or("cut off")?; self.0 = b; Ok(a) }
    fn u8(&mut self) -> Res<u8> { Ok(self.take(1)?[0]) }
    fn u16(&mut self) -> Res<u16> { let b = self.take(2)?; Ok(u16::from_be_bytes([b[0], b[1]])) }
    fn u32(&mut self) -> Res<u32> { let b = self.take(4)?; Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]])) }
    fn u64(&mut self) -> Res<u64> { Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?)) }
    fn str(&mut self) -> Res<String> {
        let n = self.0.iter().position(|b| *b == 0).ok_or("cut off")?;
        let s = String::from_utf8_lossy(self.take(n)?).into_owned(); self.take(1)?; Ok(s)
    }
    fn tuple(&mut self) -> Res<Tuple<'a>> {
        let count = usize::from(self.u16()?); let start = self.0;
        for _ in 0..count { if self.u8()? == b't' { let n = self.u32()? as usize; self.take(n)?; } }
        Ok(Tuple { data: &start[..start.len() - self.0.len()], count })
    }
}
impl<'a> Tuple<'a> {
    pub fn cells(&self) -> impl Iterator<Item = Cell<'a>> {
        let mut r = R(self.data);
        (0..self.count).map(move |_| match r.u8() {
            Ok(b't') => { let n = r.u32().unwrap_or(0) as usize; r.take(n).map_or(Cell::Null, Cell::Text) }
            Ok(b'u') => Cell::Unchanged,
            _ => Cell::Null,
        })
    }
}
pub fn parse(bytes: &[u8]) -> Res<Message<'_>> {
    let mut r = R(bytes);
    Ok(match r.u8()? {
        b'B' => { let final_lsn = Lsn(r.u64()?); let ts = r.u64()? as i64; Message::Begin(Begin { final_lsn, commit_time_us: ts + 946_684_800_000_000, xid: r.u32()? }) }
        b'C' => { r.u8()?; r.u64()?; Message::Commit(Commit { end_lsn: Lsn(r.u64()?) }) }
        b'R' => {
            let id = r.u32()?; let mut namespace = r.str()?; if namespace.is_empty() { namespace = "pg_catalog".into(); }
            let name = r.str()?; let replica_identity = r.u8()?; let n = r.u16()?;
            let mut columns = Vec::new();
            for _ in 0..n { columns.push(RelColumn { key: r.u8()? & 1 == 1, name: r.str()?, type_oid: r.u32()?, typmod: r.u32()? as i32 }); }
            Message::Relation(Relation { id, namespace, name, replica_identity, columns })
        }
        b'I' => { let relation_id = r.u32()?; r.u8()?; Message::Insert(Insert { relation_id, new: r.tuple()? }) }
        b'U' => {
            let relation_id = r.u32()?; let mut old = None;
            if r.u8()? != b'N' { old = Some(r.tuple()?); r.u8()?; }
            Message::Update(Update { relation_id, old, new: r.tuple()? })
        }
        b'D' => { let relation_id = r.u32()?; r.u8()?; Message::Delete(Delete { relation_id, old: r.tuple()? }) }
        b'T' => { let n = r.u32()?; r.u8()?; let mut ids = Vec::new(); for _ in 0..n { ids.push(r.u32()?); } Message::Truncate(Truncate { ids }) }
        _ => Message::Other,
    })
}
