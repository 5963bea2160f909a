//! What the server is told. Names are variables of psql, which quotes them; nothing is put together from them here.

/// By this the server knows our sessions.
pub(super) const APPLICATION: &str = "dsmil";
/// The answer to [`EXCHANGE`] if it has happened.
pub(super) const EXCHANGED: &str = "exchanged";

/// The server's version, and the number of database `one` where there is one.
pub(super) const LOOK: &str = "SELECT current_setting('server_version_num');
SELECT oid FROM pg_database WHERE datname = :'one';
";

/// Why database `one` cannot be replaced under its name, if so.
pub(super) const OBSTACLE: &str = "SELECT 'a prepared transaction is open in it: ' || gid FROM pg_prepared_xacts WHERE database = :'one'
UNION ALL SELECT 'it is replicated: slot ' || slot_name FROM pg_replication_slots WHERE database = :'one'
UNION ALL SELECT 'it subscribes to another: ' || subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE datname = :'one'
UNION ALL SELECT 'there is a database ' || quote_ident(datname) || ', which no restore here has made: rename or drop it'
    FROM pg_database WHERE datname = :'undo'
LIMIT 1;
";

/// The statements that make the database of this session once more, as `db`, without what is in it. Lists such as search_path come back by
/// the text that they have, which only the server itself takes apart.
pub(super) const HEAD: &str = r#"
SELECT 'CREATE DATABASE :"db" WITH TEMPLATE = template0 ENCODING = ' || quote_literal(pg_encoding_to_char(encoding))
    || CASE j->>'datlocprovider'
        WHEN 'c' THEN ' LOCALE_PROVIDER = libc'
        WHEN 'i' THEN ' LOCALE_PROVIDER = icu ICU_LOCALE = ' || quote_literal(coalesce(j->>'datlocale', j->>'daticulocale'))
            || coalesce(' ICU_RULES = ' || quote_literal(j->>'daticurules'), '')
        WHEN 'b' THEN ' LOCALE_PROVIDER = builtin BUILTIN_LOCALE = ' || quote_literal(j->>'datlocale')
        ELSE '' END
    || ' LC_COLLATE = ' || quote_literal(datcollate) || ' LC_CTYPE = ' || quote_literal(datctype)
    || CASE spcname WHEN 'pg_default' THEN '' ELSE ' TABLESPACE = ' || quote_ident(spcname) END
    || ' OWNER = ' || quote_ident(pg_get_userbyid(datdba))
    || CASE datconnlimit WHEN -1 THEN '' ELSE ' CONNECTION LIMIT = ' || datconnlimit END
    || CASE WHEN datistemplate THEN ' IS_TEMPLATE = true' ELSE '' END || ';'
    FROM (SELECT d.*, to_jsonb(d) AS j FROM pg_database d) d JOIN pg_tablespace t ON t.oid = dattablespace
    WHERE datname = current_database();
SELECT 'REVOKE ALL ON DATABASE :"db" FROM PUBLIC, ' || quote_ident(pg_get_userbyid(datdba)) || ';'
    FROM pg_database WHERE datname = current_database() AND datacl IS NOT NULL;
SELECT 'GRANT ' || privilege_type || ' ON DATABASE :"db" TO '
    || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
    || CASE WHEN is_grantable AND grantee <> datdba THEN ' WITH GRANT OPTION' ELSE '' END || ';'
    FROM pg_database, aclexplode(datacl) WHERE datname = current_database() ORDER BY 1;
SELECT CASE WHEN name IN ('search_path', 'temp_tablespaces', 'local_preload_libraries', 'session_preload_libraries')
    THEN 'BEGIN; SELECT pg_catalog.set_config(' || quote_literal(name) || ', ' || quote_literal(value) || ', true); '
        || target || ' SET ' || quote_ident(name) || ' FROM CURRENT; COMMIT;'
    ELSE target || ' SET ' || quote_ident(name) || ' TO ' || quote_literal(value) || ';' END
    FROM (SELECT split_part(setting, '=', 1) AS name, substr(setting, strpos(setting, '=') + 1) AS value,
            CASE setrole WHEN 0 THEN 'ALTER DATABASE :"db"'
                ELSE 'ALTER ROLE ' || quote_ident(pg_get_userbyid(setrole)) || ' IN DATABASE :"db"' END AS target
        FROM pg_database d JOIN pg_db_role_setting ON setdatabase = d.oid, unnest(setconfig) setting
        WHERE datname = current_database()) s ORDER BY 1;
SELECT 'COMMENT ON DATABASE :"db" IS ' || quote_literal(shobj_description(oid, 'pg_database')) || ';'
    FROM pg_database WHERE datname = current_database() AND shobj_description(oid, 'pg_database') IS NOT NULL;
"#;

/// Ends the sessions in database `one`, all of them or those that do nothing just now.
pub(super) const END_SESSIONS: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = :'one' AND pid <> pg_backend_pid() AND (:'all' = 'yes' OR (backend_type = 'client backend' AND state = 'idle'));
";

/// Ends sessions of ours that a crash has left, and says how many there were.
pub(super) const END_OURS: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name = 'dsmil' AND usename = current_user AND pid <> pg_backend_pid();
";

/// Who is in the way, in words.
pub(super) const BUSY: &str = "SELECT count(*) || ' sessions, the first: process ' || min(pid) || ' of ' || coalesce(min(usename), '?') || ', ' || coalesce(min(state), '?')
    FROM pg_stat_activity WHERE datname = :'one' AND pid <> pg_backend_pid();
";

/// `one` becomes `aside`, if there is one to be, and `next` becomes `one`, if there is one to be; all or nothing. Afterwards `one` has number
/// `is`, or is not there.
pub(super) const EXCHANGE: &str = "BEGIN;
SELECT :'aside' <> '' AS has_old, :'next' <> '' AS has_new \\gset
\\if :has_old
ALTER DATABASE :\"one\" RENAME TO :\"aside\";
\\endif
\\if :has_new
ALTER DATABASE :\"next\" RENAME TO :\"one\";
\\endif
SELECT coalesce((SELECT oid::text FROM pg_database WHERE datname = :'one'), '') = :'is' AS is_right \\gset
\\if :is_right
COMMIT;
\\echo exchanged
\\else
ROLLBACK;
\\endif
";

/// Makes what went before durable: its own end is.
pub(super) const DURABLE: &str = "ALTER DATABASE :\"one\" ALLOW_CONNECTIONS true;
";

/// Drops database `one`, if it is number `is` or any is meant.
pub(super) const DROP: &str = "SELECT format('ALTER DATABASE %I IS_TEMPLATE false', datname) FROM pg_database
    WHERE datname = :'one' AND datistemplate AND (:'is' = '' OR oid::text = :'is') \\gexec
SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
    WHERE datname = :'one' AND (:'is' = '' OR oid::text = :'is') \\gexec
";
