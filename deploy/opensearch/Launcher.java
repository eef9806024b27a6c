import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One OpenSearch node in this process: java -cp 'JARS/*' Launcher.java DIRECTORY PORT. */
public class Launcher {
    public static void main(String[] arguments) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        // The runner looks for a free port from one above its base on, and not beyond this one.
        runner.setMaxHttpPort(65535);
        int port = Integer.parseInt(arguments[1]);
        runner.onBuild((number, settings) -> {
            settings.put("network.host", "127.0.0.1");
            settings.put("http.port", arguments[1]);
            settings.put("discovery.type", "single-node");
            settings.putList("discovery.seed_hosts");
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
        }).build(OpenSearchRunner.newConfigs().basePath(arguments[0]).numOfNode(1).baseHttpPort(port - 1));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                runner.close();
            } catch (Exception ended) {
                ended.printStackTrace();
            }
        }));
        Thread.currentThread().join();
    }
}
