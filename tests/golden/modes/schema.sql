CREATE EXTENSION IF NOT EXISTS hstore;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS ltree;
CREATE TYPE mood AS ENUM ('sad','ok','happy');
CREATE DOMAIN price AS numeric(8,3) CHECK (VALUE >= 0);
CREATE TABLE types(
 id int PRIMARY KEY,
 c_num82 numeric(8,2), c_num5 numeric(5), c_num numeric, c_price price, c_money money, c_float4 float4, c_float8 float8,
 c_date date, c_time time, c_time3 time(3), c_timetz timetz, c_ts timestamp, c_ts3 timestamp(3), c_ts0 timestamp(0), c_tstz timestamptz, c_tstz3 timestamptz(3),
 c_interval interval, c_bytea bytea, c_hstore hstore, c_bit1 bit(1), c_bit8 bit(8), c_varbit varbit(12), c_citext citext, c_ltree ltree, c_tsv tsvector,
 c_pglsn pg_lsn, c_tsq tsquery, c_box box, c_xid xid,
 a_num numeric(6,2)[], a_numv numeric[], a_date date[], a_time time[], a_ts timestamp[], a_tstz timestamptz[], a_timetz timetz[], a_bytea bytea[], a_hstore hstore[], a_int int[], a_mood mood[], a_interval interval[], a_bool bool[], a_float8 float8[], a_uuid uuid[], a_money money[],
 n_num82 numeric(8,2) NOT NULL DEFAULT 1.5, n_num numeric NOT NULL DEFAULT 2.50, n_money money NOT NULL DEFAULT '$3.00', n_date date NOT NULL DEFAULT '2020-01-02', n_time time NOT NULL DEFAULT '01:02:03', n_ts timestamp NOT NULL DEFAULT '2020-01-02 03:04:05', n_ts3 timestamp(3) NOT NULL DEFAULT now(), n_tstz timestamptz NOT NULL DEFAULT now(), n_timetz timetz NOT NULL DEFAULT '01:02:03+00', n_interval interval NOT NULL DEFAULT '1 day', n_bytea bytea NOT NULL DEFAULT '\x01', n_hstore hstore NOT NULL DEFAULT '', n_point point NOT NULL DEFAULT '(1,2)', n_float8 float8 NOT NULL DEFAULT 1.5, n_lsn pg_lsn NOT NULL DEFAULT '0/1', n_arr int[] NOT NULL DEFAULT '{1}');
CREATE TABLE nodef(
 id int PRIMARY KEY, n_num82 numeric(8,2) NOT NULL, n_num numeric NOT NULL, n_money money NOT NULL, n_date date NOT NULL, n_time time NOT NULL, n_time3 time(3) NOT NULL, n_ts timestamp NOT NULL, n_ts3 timestamp(3) NOT NULL, n_tstz timestamptz NOT NULL, n_timetz timetz NOT NULL, n_interval interval NOT NULL, n_bytea bytea NOT NULL, n_hstore hstore NOT NULL, n_lsn pg_lsn NOT NULL, n_bit8 bit(8) NOT NULL, n_text text NOT NULL, n_mood mood NOT NULL, n_uuid uuid NOT NULL, n_json json NOT NULL, n_intarr int[] NOT NULL);
CREATE TABLE toasts(id int PRIMARY KEY, small int, t text, b bytea, j jsonb, h hstore, ta text[], ia int[], ba bytea[], ua uuid[], na numeric[], n numeric, tn text NOT NULL, da date[]);
ALTER TABLE toasts ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL, ALTER h SET STORAGE EXTERNAL, ALTER ta SET STORAGE EXTERNAL, ALTER ia SET STORAGE EXTERNAL, ALTER ba SET STORAGE EXTERNAL, ALTER ua SET STORAGE EXTERNAL, ALTER na SET STORAGE EXTERNAL, ALTER n SET STORAGE EXTERNAL, ALTER tn SET STORAGE EXTERNAL, ALTER da SET STORAGE EXTERNAL;
CREATE TABLE people(id int PRIMARY KEY, email varchar(40) NOT NULL, name text, ssn char(11), note varchar(12) DEFAULT 'none', born date, code citext, doc json, u uuid, m mood, amount numeric(8,2));
CREATE TABLE plain(a int NOT NULL, b text, c int);
ALTER TABLE plain REPLICA IDENTITY FULL;
CREATE TABLE part(id int, region text, v text, PRIMARY KEY(id, region)) PARTITION BY LIST (region);
CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu');
CREATE TABLE part_us PARTITION OF part FOR VALUES IN ('us');
CREATE TABLE ri_index(id int PRIMARY KEY, k int NOT NULL UNIQUE, v text);
ALTER TABLE ri_index REPLICA IDENTITY USING INDEX ri_index_k_key;
CREATE TABLE ri_nothing(id int PRIMARY KEY, v text);
ALTER TABLE ri_nothing REPLICA IDENTITY NOTHING;
CREATE TABLE uniq(k int NOT NULL UNIQUE, v text);
CREATE TABLE outbox(id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, aggregateid varchar(255) NOT NULL, type varchar(255) NOT NULL, payload jsonb, at timestamp, tenant text);
CREATE TABLE sh_1(id int PRIMARY KEY, v text);
CREATE TABLE sh_2(id int PRIMARY KEY, v text);
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE PUBLICATION rooted FOR TABLE part WITH (publish_via_partition_root = true);
INSERT INTO types(id,c_num82,c_num5,c_num,c_price,c_money,c_float4,c_float8,c_date,c_time,c_time3,c_timetz,c_ts,c_ts3,c_ts0,c_tstz,c_tstz3,c_interval,c_bytea,c_hstore,c_bit1,c_bit8,c_varbit,c_citext,c_ltree,c_tsv,c_pglsn,c_tsq,c_box,c_xid,a_num,a_numv,a_date,a_time,a_ts,a_tstz,a_timetz,a_bytea,a_hstore,a_int,a_mood,a_interval,a_bool,a_float8,a_uuid,a_money)
 VALUES (1,1234.50,-42,'123.4560',9.125,'$1234.56',1.5,2.5,'2024-02-29','13:14:15.123456','13:14:15.123','13:14:15.123456+02','2024-02-29 13:14:15.123456','2024-02-29 13:14:15.123','2024-02-29 13:14:15','2024-02-29 13:14:15.123456+02','2024-02-29 13:14:15.12+02','1 year 2 mons 3 days 04:05:06.789','\xdeadbeef00fbff','a=>1,b=>NULL',B'1',B'10100101',B'101','CiText','a.b.c','a fat cat','16/B374D848','fat & rat','((0,0),(1,1))','77',
 '{1.50,NULL,2.25}','{1.5,2.250}','{2024-02-29,NULL}','{13:14:15.123456}','{"2024-02-29 13:14:15.123456"}','{"2024-02-29 13:14:15+02"}','{13:14:15+02}','{"\\xdead",NULL}','{"a=>1"}','{{1,2},{3,4}}','{sad,ok}','{"1 day"}','{t,f}','{1.5,NaN}','{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}','{$1.50}');
INSERT INTO types(id) VALUES (2);
INSERT INTO types(id,c_num82,c_num5,c_num,c_money,c_float4,c_float8,c_date,c_time,c_time3,c_timetz,c_ts,c_ts3,c_ts0,c_tstz,c_interval,c_bytea,c_hstore,c_bit8) VALUES
 (3,-0.01,0,'-0.000000000000000000000000000001','-$0.01','NaN','Infinity','0001-01-01','24:00:00','23:59:59.999','00:00:00+14','0001-01-01 00:00:00','0001-01-01','0001-01-01','0001-01-01 00:00:00+00','-3 days -1 hours','\x','',B'00000000'),
 (4,'NaN',NULL,'NaN',NULL,'-Infinity','-0','infinity','00:00:00','00:00:00',NULL,'infinity','infinity','-infinity','-infinity','-1 year 2 mons -3 days 00:00:00.000001',NULL,'"q\"k"=>"v\\v", "é"=>"🚀"',NULL),
 (5,999999.99,99999,'1e20','$92233720368547758.07','1e30','1e-10','9999-12-31','00:00:00.000001','00:00:00.001','23:59:59.999999-12','9999-12-31 23:59:59.999999','9999-12-31 23:59:59.999','9999-12-31 23:59:59','9999-12-31 23:59:59.999999+00','00:00:00','\x00','k=>v',B'11111111'),
 (6,0.10,1,'100',NULL,'123456792','12345678.9','1969-12-31','12:00:00','12:00:00.5','12:00:00+00','1969-12-31 23:59:59.999999','1969-12-31 23:59:59.999','1969-12-31 23:59:59','1969-12-31 23:59:59.999999+00','1 mon','\x7f',NULL,NULL),
 (7,NULL,NULL,'Infinity',NULL,NULL,NULL,'0044-03-15 BC',NULL,NULL,NULL,'0044-03-15 12:00:00 BC','1677-09-21 00:12:43.145','2262-04-12','0044-03-15 12:00:00+00 BC','178000000 years',NULL,NULL,NULL);
INSERT INTO nodef VALUES (1,1,1,'$1','2024-01-01','01:00','01:00','2024-01-01','2024-01-01','2024-01-01+00','01:00+00','1 day','\x01','a=>b','0/1',B'00000001','t','ok','a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11','{}','{1}');
INSERT INTO toasts SELECT 1, 0, repeat('x',9000), decode(repeat('ab',9000),'hex'), to_jsonb(repeat('j',9000)), hstore('k', repeat('h',9000)), ARRAY[repeat('a',9000)], (SELECT array_agg(i) FROM generate_series(1,9000) i), ARRAY[decode(repeat('ab',9000),'hex')], (SELECT array_agg('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid) FROM generate_series(1,1000) i), (SELECT array_agg(i::numeric) FROM generate_series(1,3000) i), (repeat('9',20000))::numeric, repeat('n',9000), (SELECT array_agg('2024-01-01'::date) FROM generate_series(1,3000) i);
INSERT INTO people VALUES (1,'ada@example.com','Ada Lovelace','123-45-6789','noted','1815-12-10','ABC','{"a":1}','a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11','ok',12.50),(2,'grace@example.com',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO plain VALUES (1,'b',2);
INSERT INTO part VALUES (1,'eu','x'),(2,'us','y');
INSERT INTO sh_1 VALUES (1,'one'); INSERT INTO sh_2 VALUES (1,'uno');
INSERT INTO ri_index VALUES (1,10,'a'); INSERT INTO ri_nothing VALUES (1,'a'); INSERT INTO uniq VALUES (1,'u');
UPDATE types SET c_num82=NULL, c_num=NULL WHERE id IN (4,7);
CREATE TABLE specials(id int PRIMARY KEY, n82 numeric(8,2), n numeric, nn numeric NOT NULL DEFAULT 1, a numeric[], a82 numeric(8,2)[]);
INSERT INTO specials VALUES (1,'NaN','NaN',1,'{NaN,1.50}','{1.5,NaN}'),(2,NULL,'Infinity',2.50,NULL,NULL),(3,0.10,'-Infinity','1e20',NULL,NULL);
