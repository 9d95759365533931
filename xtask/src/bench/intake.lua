-- Posts a record with a new id in each request.

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

dofile("done.lua")
