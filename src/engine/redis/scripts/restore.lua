-- Puts entries of the log back under the ids that they had.
--
-- KEYS: log, meta, nodes
-- ARGV: run id, node, patience in ms, 'replace' or 'add', depth, epoch,
-- ancestors, and for each entry its id, node, batch number, messages, epoch,
-- time, records
--
-- What the log is then is said with each part of it: the next one may be put
-- back by another node.
--
-- Answers 'ok', or 'closed' if it is not this node that restores.
local meta = redis.call('HMGET', KEYS[2], 'run', 'state', 'restorer')
if meta[1] ~= ARGV[1] or meta[2] ~= 'restoring' or meta[3] ~= ARGV[2] then
  return 'closed'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[4] == 'replace' then
  -- The batch numbers belong to the log that goes.
  redis.call('DEL', KEYS[1])
  for _, field in ipairs(redis.call('HKEYS', KEYS[3])) do
    if string.sub(field, 1, 6) == 'batch:' then
      redis.call('HDEL', KEYS[3], field)
    end
  end
end
for index = 8, #ARGV, 7 do
  redis.call('XADD', KEYS[1], ARGV[index],
    'n', ARGV[index + 1], 'b', ARGV[index + 2], 'c', ARGV[index + 3],
    'e', ARGV[index + 4], 't', ARGV[index + 5], 'd', ARGV[index + 6])
  redis.call('HSET', KEYS[3], 'batch:' .. ARGV[index + 1], ARGV[index + 2])
end
redis.call('HSET', KEYS[2], 'depth', ARGV[5], 'epoch', ARGV[6],
  'ancestors', ARGV[7], 'until', string.format('%.0f', now + tonumber(ARGV[3])))
return 'ok'
