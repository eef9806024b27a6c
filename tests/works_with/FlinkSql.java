import java.nio.file.*;
import org.apache.flink.table.api.*;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/** Runs the statements of a file, then queries: prints `query TEXT`, and a line `KIND<tab>value<tab>…` for each change. */
public class FlinkSql {
    public static void main(String[] args) throws Exception {
        TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        tables.getConfig().set("parallelism.default", "1");
        for (String statement : Files.readString(Path.of(args[0])).split(";\n"))
            if (!statement.isBlank()) tables.executeSql(statement);
        for (String query : java.util.Arrays.copyOfRange(args, 1, args.length)) {
            System.out.println("query " + query);
            try (CloseableIterator<Row> rows = tables.executeSql(query).collect()) {
                while (rows.hasNext()) {
                    Row row = rows.next();
                    StringBuilder line = new StringBuilder(row.getKind().shortString());
                    for (int field = 0; field < row.getArity(); field++) line.append("\t").append(row.getField(field));
                    System.out.println(line);
                }
            }
        }
        System.exit(0);
    }
}
