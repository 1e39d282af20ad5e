-- What wrk sends, and how it reports: wrk -s tests/wrk.lua URL -- FILE
--
-- FILE holds one body a line. Each is sent once; then only empty ones, which are
-- refused, so that a file that was too short is noticed.

local requests, sent = {}, 0

function init(arguments)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   for body in io.lines(arguments[1]) do
      requests[#requests + 1] = wrk.format(nil, nil, nil, body)
   end
end

function request()
   sent = sent + 1
   return requests[sent] or wrk.format(nil, nil, nil, "")
end

function done(summary, latency)
   local failed = 0
   for _, count in pairs(summary.errors) do
      failed = failed + count
   end
   io.write(string.format(
      '{"answers": %d, "failed": %d, "microseconds": %d, "p50": %d, "p99": %d}\n',
      summary.requests, failed, summary.duration,
      latency:percentile(50), latency:percentile(99)))
end
