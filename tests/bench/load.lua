-- One kind of call, over and over; every answer is held against the known truth.
-- Environment: BENCH_CALL (check, constant, healthz, consume, hot, plan, window, webhook), BENCH_KEY, BENCH_COUNT (how many subjects
-- are drawn from), BENCH_RUN (a word that no other run has), BENCH_PATH and BENCH_EVENTS (for webhooks).

local call = os.getenv("BENCH_CALL")
local key = os.getenv("BENCH_KEY")
local count = tonumber(os.getenv("BENCH_COUNT"))
local run = os.getenv("BENCH_RUN")
local path = os.getenv("BENCH_PATH")
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init()
  math.randomseed(os.time() + 7919 * number)
  right, wrong, refused, yes, sent = 0, 0, 0, 0, 0
  example = ""
  wrk.method = call == "healthz" and "GET" or "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. key
  if call == "webhook" then
    events = {}
    local line_number = 0
    for line in io.lines(os.getenv("BENCH_EVENTS")) do
      if line_number % 2 == number then table.insert(events, line) end
      line_number = line_number + 1
    end
  end
end

local function drawn() return math.random(0, count - 1) end

local function consume(ref, more)
  sent = sent + 1
  return wrk.format(nil, path, { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. key,
    ["Idempotency-Key"] = run .. "-" .. number .. "-" .. sent }, '{"subject_ref": "' .. ref .. '", "units": 1' .. (more or "") .. '}')
end

local requests = {
  check = function() return wrk.format(nil, path, nil, '{"subject_ref": "user_' .. drawn() .. '"}') end,
  consume = function() return consume("pack_" .. drawn()) end,
  hot = function() return consume("pack_hot") end,
  plan = function() return wrk.format(nil, path, nil, '{"subject_ref": "plan_' .. drawn() .. '"}') end,
  window = function() return consume("plan_" .. drawn(), ', "unit": "images"') end,
  webhook = function()
    sent = sent + 1
    local signature, body = string.match(events[sent], "^([^\t]+)\t(.*)$")
    return wrk.format(nil, path, { ["Content-Type"] = "application/json", ["Stripe-Signature"] = signature }, body)
  end,
}
requests.constant = requests.check
requests.healthz = function() return wrk.format(nil, path) end

-- Each tells whether the answer is right, and whether it says yes.
local judges = {
  check = function(status, body)
    local n, allowed = string.match(body, '^{"subject_ref":"user_(%d+)","allowed":(%a+)}$')
    local truth = n and tonumber(n) % 2 == 0
    return status == 200 and n and allowed == tostring(truth), truth
  end,
  constant = function(status, body) return status == 200 and body == '{"subject_ref":"user_0","allowed":true}', true end,
  healthz = function(status, body) return status == 200 and string.match(body, '"status": *"ok"'), true end,
  consume = function(status, body)
    return status == 200 and string.match(body, '^{"ok":true,"consumed":1,"usage_remaining":%d+}$'), true
  end,
  plan = function(status, body)
    return status == 200 and string.match(body, '^{"subject_ref":"plan_%d+","allowed":true}$'), true
  end,
  window = function(status, body)
    return status == 200 and string.match(body, '^{"ok":true,"consumed":1,"usage_remaining":%d+,"unit":"images"}$'), true
  end,
  webhook = function(status) return status == 200, true end,
}
judges.hot = judges.consume

function request() return requests[call]() end

function response(status, _headers, body)
  local good, says_yes = judges[call](status, body)
  if good then
    right = right + 1
    if says_yes then yes = yes + 1 end
  elseif status == 503 then
    refused = refused + 1
  else
    wrong = wrong + 1
    example = status .. " " .. string.sub(body, 1, 150)
  end
end

function done(summary, latency)
  local right, wrong, refused, yes, example = 0, 0, 0, 0, ""
  for _, thread in ipairs(threads) do
    right = right + thread:get("right")
    wrong = wrong + thread:get("wrong")
    refused = refused + thread:get("refused")
    yes = yes + thread:get("yes")
    if thread:get("example") ~= "" then example = thread:get("example") end
  end
  local errors = summary.errors
  io.write(string.format(
    "\nBENCH right=%d wrong=%d unanswered=%d yes=%d seconds=%.6f p50=%.3f p99=%.3f\n",
    right, wrong, refused + errors.connect + errors.read + errors.write + errors.timeout, yes,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
  if example ~= "" then io.write("BENCH-EXAMPLE " .. example .. "\n") end
end
