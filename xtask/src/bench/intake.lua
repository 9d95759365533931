-- Posts a record with a new id in each request, and sums up as JSON.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local headers = { ["content-type"] = "application/json" }
local posted = 0

function request()
  posted = posted + 1
  local id = number * 1000000000 + posted
  local body = '{"id":' .. id .. ',"name":"user ' .. posted .. '"}'
  return wrk.format("POST", "/users", headers, body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"micros":%d,"p50":%.3f,"p99":%.3f,"failed":%d}\n',
    summary.requests, summary.duration, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout
  ))
end
