-- One thread of the load: it sends the callbacks of every n-th message, in sending order.
-- The numbers come from a file of lines of one length, so that a request costs a few cuts.

local threads, ports = {}, {}
for port in string.gmatch(os.getenv("RECEIVER_PORTS"), "%d+") do
    table.insert(ports, port)
end

function setup(thread)
    thread:set("thread_number", #threads)
    thread.addr = wrk.lookup("127.0.0.1", ports[#threads % #ports + 1])[1]
    table.insert(threads, thread)
end

-- arguments: file, messages, threads, details, shape, path
function init(arguments)
    local file = assert(io.open(arguments[1], "rb"))
    data = file:read("*a")
    file:close()
    messages, step = tonumber(arguments[2]), tonumber(arguments[3])
    details, shape, path = tonumber(arguments[4]), arguments[5], arguments[6]
    line = #data / messages
    next_one, exhausted, late = thread_number, 0, 0
    start_schedule(tonumber(arguments[7]))
    now = tostring(os.time())
    done_date = os.date("!%Y-%m-%dT%H:%M:%S.44", os.time() + 7 * 3600)
    sent_date = os.date("!%Y-%m-%dT%H:%M:%S.273", os.time() + 7 * 3600 - 9)
    head = " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: wrk\r\n"
end

local text = "เชิญชวนร่วมกิจกรรม วิ่งการกุศล ANTS มาราธอน"

local function numbers(n)
    local at = n * line
    return data:sub(at + 1, at + line - 12), data:sub(at + line - 11, at + line - 1)
end

local function single(n)
    return "GET " .. path .. "?Transaction=" .. numbers(n) .. "&Status=delivery&Time=" .. now
        .. head .. "\r\n"
end

local function post(kind, body)
    return "POST " .. path .. head .. "Content-Type: application/" .. kind .. "\r\nContent-Length: "
        .. #body .. "\r\n\r\n" .. body
end

local function json(n)
    local parts = { '{"bulkId":"bulk-', math.floor(n * details / 500), '","details":[' }
    local tail = '","from":"ACME","text":"' .. text .. '","credit":1.00,"sendDate":"' .. sent_date
        .. '","doneDate":"' .. done_date .. '","status":{"code":"000","name":"DELIVERED",'
        .. '"description":"Successfully sent to phone"},"callbackData":"ANTS Data"}'
    for i = n * details, (n + 1) * details - 1 do
        local id, to = numbers(i)
        parts[#parts + 1] = '{"messageId":"' .. id .. '","to":"' .. to .. tail
        parts[#parts + 1] = ","
    end
    parts[#parts] = "]}"
    return post("json", table.concat(parts))
end

local function xml(n)
    local parts = {
        '<?xml version="1.0" encoding="utf-16"?>\n<CALLBACK',
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"',
        ' xmlns:xsd="http://www.w3.org/2001/XMLSchema"><bulkId>bulk-',
        math.floor(n * details / 500), "</bulkId><details>",
    }
    local tail = "</to><from>ACME</from><text>" .. text .. "</text><credit>1.00</credit><sendDate>"
        .. sent_date .. "</sendDate><doneDate>" .. done_date .. "</doneDate><status><code>000</code>"
        .. "<name>DELIVERED</name><description>Successfully sent to phone</description></status>"
        .. "<callbackData>ANTS Data</callbackData></detail>"
    for i = n * details, (n + 1) * details - 1 do
        local id, to = numbers(i)
        parts[#parts + 1] = "<detail><messageId>" .. id .. "</messageId><to>" .. to .. tail
    end
    parts[#parts + 1] = "</details></CALLBACK>"
    return post("xml", table.concat(parts))
end

-- With a rate offered every request has its moment, whichever connection is free to send it; one
-- that finds none free, or is sent late for another reason, is counted.

local ffi = require("ffi")
ffi.cdef("typedef struct { long s, us; } moment; int gettimeofday(moment *at, void *zone);")
local clock = ffi.new("moment")

local function milliseconds()
    ffi.C.gettimeofday(clock, nil)
    return tonumber(clock.s) * 1000 + tonumber(clock.us) / 1000
end

function start_schedule(offered)
    if offered > 0 then
        interval = 1000 * step / offered -- between two requests of this thread
        function delay()
            local at = milliseconds()
            due = due and due + interval or at + thread_number * interval / step
            if at > due + 5 then
                late = late + 1
            end
            return math.max(0, math.floor(due - at + 0.5))
        end
    end
end

local bodies = { single = single, json = json, xml = xml }

function request()
    local n = next_one
    if (n + 1) * details > messages then
        exhausted, n = 1, thread_number -- a repeat; the benchmark says that it ran out
    else
        next_one = n + step
    end
    return bodies[shape](n)
end

function done(summary, latency, requests)
    local ran_out, late = 0, 0
    for _, thread in ipairs(threads) do
        ran_out = ran_out + thread:get("exhausted")
        late = late + thread:get("late")
    end
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, "timeouts": %d,'
        .. ' "exhausted": %d, "late": %d, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f}\n',
        summary.requests, summary.duration, errors.status,
        errors.connect + errors.read + errors.write, errors.timeout, ran_out, late,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000
    ))
end
