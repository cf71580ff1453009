import { hash } from 'node:crypto';

/**
 * Takes the tokens of one request out of all of its buckets, or out of none, in one step that nothing comes between.
 * It is bucket.ts in Lua, whose numbers are doubles too; the clock is the server's, so that those of its clients need not agree.
 *
 * KEYS are the buckets. ARGV has five whole numbers for each: requests, perMs, burst, cost, and 1 where a bucket without
 * tokens refuses the request. The answer has two for each: 1 where the tokens were there, and what has been taken out of
 * the bucket afterwards. What is stored is `taken atMs`, for as long as the bucket is not full.
 */
export const TAKE_TOKENS = `
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local buckets = {}
local refused = false
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5
  local requests, per, burst = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local cost, enforced = tonumber(ARGV[at + 4]), ARGV[at + 5] == '1'
  local taken = 0
  local stored = redis.call('GET', key)
  if stored then
    local before, since = string.match(stored, '^(%d+) (%d+)$')
    if not before then return redis.error_reply('WRONGVALUE a key holds no bucket') end
    taken = tonumber(before)
    if now > tonumber(since) then
      taken = math.max(0, taken - (now - tonumber(since)) * requests)
    end
  end
  local has = taken + cost * per <= burst * per
  if enforced and not has then refused = true end
  buckets[i] = {taken, has, cost * per, requests}
end
local answer = {}
for i, key in ipairs(KEYS) do
  local taken, has, amount, requests = unpack(buckets[i])
  if has and not refused then
    taken = taken + amount
    redis.call('SET', key, string.format('%.0f %.0f', taken, now), 'PX', math.ceil(taken / requests))
  end
  answer[2 * i - 1] = has and 1 or 0
  answer[2 * i] = taken
end
return answer
`;

/** By which a server that has seen it knows it. Redis names scripts so; nothing is secured by it. */
export const TAKE_TOKENS_SHA1 = hash('sha1', TAKE_TOKENS, 'hex');
