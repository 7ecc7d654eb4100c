"""What stands between the network and the routes: connections, hosts, packed bodies, logs and measurements."""
