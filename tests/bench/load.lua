-- Draws subjects uniformly and holds every answer against the known truth.
-- Environment: BENCH_KEY, BENCH_SUBJECTS, BENCH_TRUTH ("parity" or "constant").

local key = os.getenv("BENCH_KEY")
local subjects = tonumber(os.getenv("BENCH_SUBJECTS"))
local constant = os.getenv("BENCH_TRUTH") == "constant"
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init()
  math.randomseed(os.time() + 7919 * number)
  right, wrong, yes = 0, 0, 0
  example = ""
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. key
end

function request()
  local n = math.random(0, subjects - 1)
  return wrk.format(nil, "/v1/access/check", nil, '{"subject_ref": "user_' .. n .. '"}')
end

function response(status, _headers, body)
  local n, allowed = string.match(body, '^{"subject_ref":"user_(%d+)","allowed":(%a+)}$')
  local truth = n and (constant or (tonumber(n) % 2 == 0)) and "true" or "false"
  if status == 200 and n and allowed == truth then
    right = right + 1
    if allowed == "true" then yes = yes + 1 end
  else
    wrong = wrong + 1
    example = status .. " " .. string.sub(body, 1, 150)
  end
end

function done(summary, latency)
  local right, wrong, yes, example = 0, 0, 0, ""
  for _, thread in ipairs(threads) do
    right = right + thread:get("right")
    wrong = wrong + thread:get("wrong")
    yes = yes + thread:get("yes")
    if thread:get("example") ~= "" then example = thread:get("example") end
  end
  local errors = summary.errors
  io.write(string.format(
    "\nBENCH right=%d wrong=%d yes=%d failed=%d seconds=%.6f p50=%.3f p99=%.3f\n",
    right, wrong, yes, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
  if example ~= "" then io.write("BENCH-EXAMPLE " .. example .. "\n") end
end
