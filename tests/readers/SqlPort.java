// The lake's SQL port as JDBC sees it (PostgreSQL's driver): metadata, prepared statements, fetch sizes, cancel, refusals.
// Arguments: the URL. Prints one JSON object; fails with an exception on what is not as it should be.
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.TimeZone;

public class SqlPort {
    static void same(Object found, Object expected, String what) {
        if (!expected.equals(found)) throw new AssertionError(what + ": " + found + ", not " + expected);
    }

    static String refused(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        } catch (SQLException error) {
            return error.getSQLState();
        }
        throw new AssertionError(sql + " was accepted");
    }

    public static void main(String[] arguments) throws Exception {
        // Far from UTC, where a zone that is taken into account would show.
        TimeZone.setDefault(TimeZone.getTimeZone("Asia/Tokyo"));
        StringBuilder out = new StringBuilder("{");
        for (String mode : List.of("extended")) {
            Properties properties = new Properties();
            properties.setProperty("user", "haus");
            properties.setProperty("preferQueryMode", mode);
            properties.setProperty("prepareThreshold", "2");
            properties.setProperty("binaryTransfer", "true");
            try (Connection connection = DriverManager.getConnection(arguments[0], properties)) {
                metadata(connection);
                values(connection, mode, out);
                if (mode.equals("extended")) stream(connection);
                same(refused(connection, "DELETE FROM shape.orders"), "25006", "DELETE");
                same(refused(connection, "SELECT * FROM shape.gone"), "42P01", "a table that is not there");
                cancel(connection);
            }
        }
        out.setLength(out.length() - 1);
        System.out.println(out.append("}"));
    }

    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData metadata = connection.getMetaData();
        List<String> found = new ArrayList<>();
        try (ResultSet tables = metadata.getTables(null, "shape", "%", new String[] {"TABLE"})) {
            while (tables.next()) found.add(tables.getString("TABLE_SCHEM") + "." + tables.getString("TABLE_NAME"));
        }
        same(found, List.of("shape.orders", "shape.orders_history"), "getTables");
        found.clear();
        try (ResultSet columns = metadata.getColumns(null, "shape", "orders", "%")) {
            while (columns.next()) {
                found.add(columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME") + " "
                    + columns.getInt("COLUMN_SIZE") + " " + columns.getInt("DECIMAL_DIGITS"));
            }
        }
        same(found.subList(0, 4), List.of("id int4 10 0", "status text 2147483647 0", "total numeric 10 2",
            "created_at timestamp 29 6"), "getColumns");
        found.clear();
        try (ResultSet schemas = metadata.getSchemas()) {
            while (schemas.next()) found.add(schemas.getString(1));
        }
        if (!found.containsAll(List.of("stage", "shape", "serve"))) throw new AssertionError("getSchemas: " + found);
        try (ResultSet keys = metadata.getPrimaryKeys(null, "shape", "orders")) {
            if (keys.next()) throw new AssertionError("a primary key");
        }
    }

    static void values(Connection connection, String mode, StringBuilder out) throws SQLException {
        String sql = "SELECT id, status, total, created_at FROM shape.orders WHERE id >= ? AND total > ? AND created_at < ? AND status <> ? ORDER BY id";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            // More runs than the threshold, after which values come in binary.
            for (int run = 0; run < 5; run++) {
                statement.setInt(1, 1);
                statement.setBigDecimal(2, new BigDecimal("0.001"));
                statement.setTimestamp(3, Timestamp.valueOf("2024-05-05 10:00:00.000001"));
                statement.setString(4, "it's");
                StringBuilder rows = new StringBuilder("[");
                try (ResultSet result = statement.executeQuery()) {
                    while (result.next()) {
                        rows.append(rows.length() > 1 ? "," : "").append("[").append(result.getInt(1)).append(",\"")
                            .append(result.getString(2)).append("\",\"").append(result.getBigDecimal(3)).append("\",\"")
                            .append(result.getTimestamp(4).toLocalDateTime()).append("\"]");
                    }
                }
                if (run == 4) out.append("\"").append(mode).append("\":").append(rows).append("],");
            }
        }
        try (PreparedStatement statement = connection.prepareStatement(
                "SELECT CAST(? AS DATE), CAST(? AS BIGINT), CAST(? AS DOUBLE PRECISION), CAST(? AS BOOLEAN)")) {
            statement.setDate(1, Date.valueOf("2024-05-04"));
            statement.setLong(2, Long.MAX_VALUE);
            statement.setDouble(3, 0.1);
            statement.setBoolean(4, true);
            try (ResultSet result = statement.executeQuery()) {
                result.next();
                same(result.getDate(1).toString(), "2024-05-04", "a date");
                same(result.getLong(2), Long.MAX_VALUE, "a long");
                same(result.getDouble(3), 0.1, "a double");
                same(result.getBoolean(4), true, "a boolean");
            }
        }
    }

    /** A million rows, fetched in pieces; the heap of this process holds but a few of them. */
    static void stream(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        long sum = 0;
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(5000);
            try (ResultSet rows = statement.executeQuery(
                    "SELECT value, 'a text of some length, to make a million of them too much for the heap ' || value FROM generate_series(1, 1000000)")) {
                while (rows.next()) sum += rows.getLong(1);
            }
        }
        connection.commit();
        connection.setAutoCommit(true);
        same(sum, 500000500000L, "the sum of a million rows");
    }

    static void cancel(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            statement.executeQuery("SELECT SUM(a.value * b.value) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b");
            throw new AssertionError("not cancelled");
        } catch (SQLException error) {
            same(error.getSQLState(), "57014", "cancel");
        }
        try (Statement statement = connection.createStatement(); ResultSet one = statement.executeQuery("SELECT 1")) {
            one.next();
            same(one.getInt(1), 1, "after cancel");
        }
    }
}
