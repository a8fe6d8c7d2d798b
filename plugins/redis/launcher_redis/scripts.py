"""What does the server do in one go?

A script runs alone and as a whole, so that what is compared cannot change before it is written. Every script gets the
same two keys: the lock (a string, the holder's token) and the ledger (a hash: `mark`, `holder`, `token:STEP` and
`record:[STEP, KEY]`). The first command that writes is one that a full server refuses: a script does all or nothing.
"""

from __future__ import annotations

from typing import Final

_NOW_MS: Final = """
local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end
"""
_OWNED: Final = "redis.call('GET', KEYS[1]) == ARGV[1]"

# token, ttl in ms, owner -> [1 when it is ours, mark]. Ours already: an earlier try of ours whose answer was lost.
TAKE: Final = f"""{_NOW_MS}
local ours = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
if not ours and {_OWNED} then
  ours = redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if ours then
  local note = {{token = ARGV[1], owner = cjson.decode(ARGV[3]), step = '', since_ms = now_ms()}}
  redis.call('HSET', KEYS[2], 'holder', cjson.encode(note))
end
return {{ours and 1 or 0, redis.call('HGET', KEYS[2], 'mark') or ''}}
"""

# token, ttl in ms -> 1 when it is ours, for another ttl.
CONFIRM: Final = f"""
if not ({_OWNED}) then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# token -> 1 when it was ours.
RELEASE: Final = f"""
if not ({_OWNED}) then return 0 end
redis.call('HDEL', KEYS[2], 'holder')
return redis.call('DEL', KEYS[1])
"""

# token, step.
SAY_STEP: Final = f"""
local note = redis.call('HGET', KEYS[2], 'holder')
if not note or not ({_OWNED}) then return 0 end
note = cjson.decode(note)
note.step = ARGV[2]
redis.call('HSET', KEYS[2], 'holder', cjson.encode(note))
return 1
"""

# -> [token or '', note or '', now in ms].
HOLDER: Final = f"""{_NOW_MS}
local note = redis.call('HGET', KEYS[2], 'holder')
return {{redis.call('GET', KEYS[1]) or '', note or '', string.format('%.0f', now_ms())}}
"""

# fence, step, field, its beginning as all fields of the step have it, how many are kept, draft, the step's newest token
# or '' -> record, or nil when the lock is not the fence's or that token is not the newest. Of too many records of one
# step the one that was written longest ago goes.
BEGIN: Final = f"""{_NOW_MS}
if ARGV[1] ~= '' and not ({_OWNED}) then return false end
if ARGV[7] ~= '' and (redis.call('HGET', KEYS[2], 'token:' .. ARGV[2]) or '0') ~= ARGV[7] then return false end
local record = cjson.decode(ARGV[6])
record.token = redis.call('HINCRBY', KEYS[2], 'token:' .. ARGV[2], 1)
record.serial = redis.call('HINCRBY', KEYS[2], 'mark', 1)
record.started_ms = now_ms()
record.attempt = 1
local last = redis.call('HGET', KEYS[2], ARGV[3])
if last then
  last = cjson.decode(last)
  if last.state ~= 'done' then record.attempt = last.attempt + 1 end
end
local text = cjson.encode(record)
redis.call('HSET', KEYS[2], ARGV[3], text)
local fields = {{}}
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  if string.sub(field, 1, #ARGV[4]) == ARGV[4] then fields[#fields + 1] = field end
end
if #fields > tonumber(ARGV[5]) then
  local oldest, serial = nil, record.serial
  for _, field in ipairs(fields) do
    local other = cjson.decode(redis.call('HGET', KEYS[2], field)).serial
    if other < serial then oldest, serial = field, other end
  end
  if oldest then redis.call('HDEL', KEYS[2], oldest) end
end
return text
"""

# fence, step, field, the record's token, end -> 1 when it was written.
FINISH: Final = f"""{_NOW_MS}
if ARGV[1] ~= '' and not ({_OWNED}) then return 0 end
local text = redis.call('HGET', KEYS[2], ARGV[3])
if not text or redis.call('HGET', KEYS[2], 'token:' .. ARGV[2]) ~= ARGV[4] then return 0 end
local record = cjson.decode(text)
if record.state ~= 'running' then return 0 end
for name, value in pairs(cjson.decode(ARGV[5])) do record[name] = value end
record.finished_ms = now_ms()
record.serial = redis.call('HINCRBY', KEYS[2], 'mark', 1)
redis.call('HSET', KEYS[2], ARGV[3], cjson.encode(record))
return 1
"""

# field -> [now in ms, record or ''].
READ: Final = f"""{_NOW_MS}
return {{string.format('%.0f', now_ms()), redis.call('HGET', KEYS[2], ARGV[1]) or ''}}
"""

# -> now in ms, and all records.
RECORDS: Final = f"""{_NOW_MS}
local found, all = {{string.format('%.0f', now_ms())}}, redis.call('HGETALL', KEYS[2])
for at = 1, #all, 2 do
  if string.sub(all[at], 1, 7) == 'record:' then found[#found + 1] = all[at + 1] end
end
return found
"""
