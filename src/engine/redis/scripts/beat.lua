-- A node's sign of life, by the engine's clock. The log says when it is the
-- first one, and who has given none for too long: that node is buried.
--
-- KEYS: log, meta, nodes
-- ARGV: run id, epoch, node, timeout in ms, what is told of the node
--
-- Answers whether the log is open to this node ('open' or 'closed'), the next
-- offset, the time, and for each living node its id, the time of its last
-- sign of life, and what it told of itself; for one that has said goodbye
-- lately its id, 'left', and nothing.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- If nobody gave a sign for a while, it is the engine that was away, and what
-- the nodes could not tell meanwhile is no silence of theirs.
local heard = redis.call('HMGET', KEYS[3], 'last', 'since')
local since = tonumber(heard[2] or '0')
if not heard[1] or now - tonumber(heard[1]) > 4000 then
  since = now
  redis.call('HSET', KEYS[3], 'since', string.format('%.0f', now))
end
local is_first = redis.call('HSET', KEYS[3], 'seen:' .. ARGV[3],
  string.format('%.0f', now)) == 1
redis.call('HSET', KEYS[3], 'about:' .. ARGV[3], ARGV[5],
  'last', string.format('%.0f', now))
local meta = redis.call('HMGET', KEYS[2], 'run', 'epoch', 'state', 'next', 'extra')
local state = 'closed'
if meta[1] == ARGV[1] and meta[2] == ARGV[2] and meta[3] == 'open' and
  (redis.call('EXISTS', KEYS[1]) == 1 or (meta[4] == '1' and meta[5] == '0')) then
  state = 'open'
end
local answer = {state, meta[4] or '0', string.format('%.0f', now)}
local fields = redis.call('HGETALL', KEYS[3])
local about, buried = {}, {}
for index = 1, #fields, 2 do
  local node = string.match(fields[index], '^about:(.*)')
  if node then about[node] = fields[index + 1] end
end
for index = 1, #fields, 2 do
  local left = string.match(fields[index], '^left:(.*)')
  if left and now - tonumber(fields[index + 1]) > tonumber(ARGV[4]) then
    redis.call('HDEL', KEYS[3], fields[index])
  elseif left then
    table.insert(answer, left)
    table.insert(answer, 'left')
    table.insert(answer, '')
  end
  local node = string.match(fields[index], '^seen:(.*)')
  if node and now - math.max(tonumber(fields[index + 1]), since) > tonumber(ARGV[4]) then
    table.insert(buried, node)
  elseif node then
    table.insert(answer, node)
    table.insert(answer, fields[index + 1])
    table.insert(answer, about[node] or '')
  end
end
-- While the log is closed, burials wait.
if state == 'open' and (is_first or #buried > 0) then
  -- Records of two kinds: the length of each, and what it says.
  local records = ''
  if is_first and #ARGV[5] < 128 then
    records = string.char(14, #ARGV[5]) .. ARGV[5]
  end
  for _, node in ipairs(buried) do
    if #node < 128 then
      records = records .. string.char(13, #node) .. node
    end
    redis.call('HDEL', KEYS[3], 'seen:' .. node, 'about:' .. node)
  end
  local extra = string.format('%.0f', tonumber(meta[5]) + 1)
  redis.call('XADD', KEYS[1], string.format('%.0f-', tonumber(meta[4]) - 1) .. extra,
    'n', ARGV[3], 'b', '0', 'c', '0', 'e', ARGV[2],
    't', string.format('%.0f', now), 'd', records)
  redis.call('HSET', KEYS[2], 'extra', extra)
end
return answer
