import org.apache.tinkerpop.gremlin.server.GremlinServer;
import org.apache.tinkerpop.gremlin.server.Settings;
import org.apache.tinkerpop.gremlin.structure.Vertex;
import org.apache.tinkerpop.gremlin.tinkergraph.structure.TinkerTransactionGraph;

/** One Gremlin Server with a graph in memory: java -cp 'JARS/*' Launcher.java SETTINGS PORT. */
public class Launcher {
    public static void main(String[] arguments) throws Exception {
        Settings settings = Settings.read(arguments[0]);
        settings.port = Integer.parseInt(arguments[1]);
        // Groovy, which Neptune does not speak either, would take most of the start.
        settings.scriptEngines.keySet().retainAll(java.util.List.of("gremlin-lang"));
        TinkerTransactionGraph graph = TinkerTransactionGraph.open();
        // Neptune has every property in an index.
        graph.createIndex("tailrace_orphan", Vertex.class);
        GremlinServer server = new GremlinServer(settings);
        server.getServerGremlinExecutor().getGraphManager().putGraph("graph", graph);
        server.getServerGremlinExecutor().getGraphManager().putTraversalSource("g", graph.traversal());
        // What HTTP requests mean by `g` is looked for here.
        server.getServerGremlinExecutor().getGremlinExecutor().getScriptEngineManager().put("g", graph.traversal());
        server.start().join();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop().join()));
        Thread.currentThread().join();
    }
}
