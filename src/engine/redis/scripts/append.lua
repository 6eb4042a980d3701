-- Appends one batch of a node behind the end of the log.
--
-- KEYS: log, meta, nodes
-- ARGV: run id, epoch, node, batch number, messages, records, the id of the
-- first entry that is kept
--
-- Answers {'appended', first offset}, {'done'} if the log has this batch
-- already, or {'closed'} if the node must attach before anything is appended.
-- It writes nothing before the last check, and XADD is its first write, so
-- that a full server refuses all of it or nothing.
local meta = redis.call('HMGET', KEYS[2], 'run', 'epoch', 'state', 'next', 'extra')
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] or meta[3] ~= 'open' then
  return {'closed'}
end
local first, extra = tonumber(meta[4]), tonumber(meta[5])
if redis.call('EXISTS', KEYS[1]) == 0 and (first > 1 or extra > 0) then
  return {'closed'}
end
local batch = tonumber(ARGV[4])
local newest = redis.call('HGET', KEYS[3], 'batch:' .. ARGV[3])
if newest and batch <= tonumber(newest) then
  return {'done'}
end
local count = tonumber(ARGV[5])
local last = first + count - 1
-- An entry without messages follows the last message's entry.
extra = count == 0 and extra + 1 or 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('XADD', KEYS[1], string.format('%.0f-%.0f', last, extra),
  'n', ARGV[3], 'b', ARGV[4], 'c', ARGV[5], 'e', ARGV[2],
  't', string.format('%.0f', now), 'd', ARGV[6])
redis.call('HSET', KEYS[2], 'next', string.format('%.0f', last + 1), 'extra', extra)
redis.call('HSET', KEYS[3], 'batch:' .. ARGV[3], ARGV[4])
if ARGV[7] ~= '0-0' then
  redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[7])
end
return {'appended', string.format('%.0f', first)}
