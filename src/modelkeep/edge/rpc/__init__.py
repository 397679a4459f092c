"""The Open Inference Protocol (v2) over gRPC: imported only where ``server.grpc`` is set (extra ``grpc``)."""
