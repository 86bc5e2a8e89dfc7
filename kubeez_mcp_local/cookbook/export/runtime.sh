: "${KUBEEZ_API_KEY:?Set KUBEEZ_API_KEY to your key}"
base="${KUBEEZ_BASE_URL:-https://api.kubeez.com}"
base="${base%/}"
poll="${POLL_SECONDS:-5}"
tmp="$(mktemp -d)"
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$run"

# The key goes to curl through a file descriptor, so that it never shows in the list of processes.
auth() { printf 'header = "X-API-Key: %s"\n' "$KUBEEZ_API_KEY"; }

fail() { echo "Stopped: $*" >&2; exit 1; }

# A read; curl repeats it when the API is busy or away, and honours Retry-After.
read_json() {
  curl -sS --fail-with-body --retry 5 --retry-connrefused --max-time 60 -K <(auth) -o "$tmp/read" "$base$1" \
    || { head -c 300 "$tmp/read" >&2; return 1; }
  cat "$tmp/read"
}

# Credits of all jobs of this run; each is on record from before it is sent until all is done.
spent() { cat "$run"/*.cost 2> /dev/null | jq -s 'add // 0'; }
forget() { rm -f "$run/$1.id" "$run/$1.cost"; }

# upload FILE: prints {"url": …}
upload() {
  if [[ $1 == https://* ]]; then jq -n --arg url "$1" '{url: $url}'; return; fi
  local kind; kind="$(file --brief --mime-type -- "$1")"
  curl -sS --fail-with-body --max-time 900 -K <(auth) -F "file=@$1;type=$kind" "$base/v1/upload/media"
}

must_offer() {
  [[ -s $tmp/openapi.json ]] || read_json /openapi.json > "$tmp/openapi.json"
  jq -e --arg path "$1" '.paths | has($path)' "$tmp/openapi.json" > /dev/null || fail "the API does not publish $1"
}

read_json /v1/models | jq '.models' > "$tmp/models.json"

# Fills in what the model's row leaves no choice about.
complete() {
  jq -c --slurpfile rows "$tmp/models.json" '
    . as $body
    | (first($rows[0][] | select(.model_id == $body.model)) // {}) as $row
    | (if ($body.source_media_urls // []) == [] then "text-to" else "image-to" end) as $begins
    | ($row.capabilities // {}) as $able
    | if $row.model_type == "image" or $row.model_type == "video" then
        .generation_type //= (first(($row.generation_types // [])[] | select(startswith($begins))) // null)
        | .aspect_ratio //= (if ($able.aspect_ratio_options // ["1:1"] | index("1:1")) then null else $able.aspect_ratio_options[0] end)
        | if $able.video_audio != "toggle_via_sound_param" or (.model | endswith("-audio")) then del(.sound)
          else .sound //= false end
        | if .duration == null then . else
            (.duration | tostring | gsub("[^0-9]"; "")) as $wanted
            | (if .model | test("-[0-9]+s(-|$)") then [] else $able.duration_options // [] end) as $offered
            | .duration = (first($offered[] | select(gsub("[^0-9]"; "") == $wanted)) // null)
          end
      else . end
    | with_entries(select(.value != null))'
}

# pick_model BODY: the model that fits: the cheapest, or what the recipe prefers
pick_model() {
  jq -e -n --argjson wanted "$1" --slurpfile rows "$tmp/models.json" '
    [$rows[0][].model_id] as $ids
    | [$rows[0][]
      | (.model_id | capture("-(?<s>[0-9]+)s(-|$)").s // null) as $in_id
      | ((.model_id | endswith("-audio")) or .capabilities.video_audio == "included") as $always
      | ($always or (.capabilities.video_audio == "toggle_via_sound_param"
          and (.model_id + "-audio" | IN($ids[]) | not))) as $audible
      | select(.cost_per_generation != null)
      | select($wanted.task == null or ((.generation_types // []) | index($wanted.task)))
      | select($wanted.aspect_ratio == null or ((.capabilities.aspect_ratio_options // []) | index($wanted.aspect_ratio)))
      | select($wanted.duration == null
          or ((if $in_id then [$in_id] else .capabilities.duration_options // [] end)
            | map(gsub("[^0-9]"; "")) | index($wanted.duration | tostring)))
      | select($wanted.sound == null or (if $wanted.sound then $audible else $always | not end))
      | select($wanted.max_credits == null or .cost_per_generation <= ($wanted.max_credits | tonumber))]
    | sort_by((.estimated_time_seconds // 1e9) as $seconds
        | (if $wanted.prefer == "tier" then [-.cost_per_generation, $seconds]
           elif $wanted.prefer == "speed" then [$seconds, .cost_per_generation]
           else [.cost_per_generation, $seconds] end), .model_id)
    | first | {model: .model_id, credits: .cost_per_generation}' \
    || fail "no model fits $1"
}

# start NAME PATH MODEL AT_MOST BODY: a paid request. It is repeated only on 429, which means that nothing was taken.
start() {
  local body code="" cost attempt wait
  if [[ -s $run/$1.id ]]; then echo "$1: going on with $(cat "$run/$1.id")" >&2; return; fi
  [[ ! -e $run/$1.cost ]] || unknown "$1" "an earlier attempt broke off while it was sent"
  body="$(complete <<< "$5")"
  cost="$(jq -n --argjson body "$body" --arg model "$3" --slurpfile rows "$tmp/models.json" \
    'first($rows[0][] | select(.model_id == ($body.model // $model)) | .cost_per_generation) // empty')"
  cost="${4:-$cost}"
  [[ -n $cost ]] || fail "$1: the API names no price for it, so it cannot be held to a budget"
  jq -e -n "($(spent) + $cost) <= $budget" > /dev/null || fail "$1 costs $cost credits, more than is left"
  echo "$cost" > "$run/$1.cost"
  for attempt in 1 2 3 4 5 6; do
    code="$(curl -sS --max-time 60 -K <(auth) -o "$tmp/answer" -D "$tmp/headers" -w '%{http_code}' \
      -H 'Content-Type: application/json' --data-binary @- "$base$2" <<< "$body")" \
      || case $? in
        6 | 7) forget "$1"; fail "$1: the API cannot be reached" ;;
        *) unknown "$1" "the connection broke" ;;
      esac
    [[ $code == 429 ]] || break
    wait="$(tr -d '\r' < "$tmp/headers" | awk 'tolower($1) == "retry-after:" && $2 ~ /^[0-9]+$/ {print $2}')"
    sleep "${wait:-$((2 ** attempt))}"
  done
  [[ $code != 5* ]] || unknown "$1" "$code $(head -c 300 "$tmp/answer")"
  [[ $code == 2* ]] || { forget "$1"; fail "$1: $code $(head -c 300 "$tmp/answer")"; }
  jq -er '.generation_id // .separation_id // .id' "$tmp/answer" > "$tmp/id" || unknown "$1" "the answer names no job"
  jq '.estimated_cost_credits // empty' "$tmp/answer" | grep . > "$run/$1.cost" || echo "$cost" > "$run/$1.cost"
  mv "$tmp/id" "$run/$1.id"
  echo "$1: started $(cat "$run/$1.id")" >&2
}

unknown() {
  fail "$1: $2. It may have been charged: look for it in GET /v1/generations." \
    "Then write its id into $run/$1.id, or delete $run/$1.cost."
}

# finish NAME KIND STEM: waits for the job, saves its files under names that begin with STEM, prints its state
finish() {
  local id state="" status missing=0 number=0 url ending file label count again
  id="$(cat "$run/$1.id")"
  while true; do
    sleep "$poll"
    if ! state="$(read_json "/v1/generate/$2/$id" 2> /dev/null)"; then
      missing=$((missing + 1))
      ((missing <= 12)) || fail "$1: the API does not know the job $id"
      continue
    fi
    status="$(jq -r '.status | ascii_downcase' <<< "$state")"
    if [[ $status == failed || $status == error ]]; then
      forget "$1" # failed jobs are refunded: the next attempt sends it again
      fail "$1: $(jq -r '.error_message // "the job failed"' <<< "$state")"
    fi
    [[ $status == completed ]] || continue
    jq -r '[.outputs[]?.url, .songs[]?.audio_url, (select(has("vocals_url")) | .vocals_url, .instrumental_url)]
      | if length > 0 and all(. != null) then .[] else empty end
      | if startswith("/") then "https://media.kubeez.com" + . else . end' <<< "$state" > "$tmp/$1.urls"
    [[ -s $tmp/$1.urls ]] && break
  done
  count="$(grep -c . "$tmp/$1.urls")"
  while read -r url; do
    number=$((number + 1))
    label=""
    if ((count > 1)); then
      label="-$number-of-$count"
      if ((count == 2)) && jq -e 'has("vocals_url")' <<< "$state" > /dev/null; then
        [[ $number == 1 ]] && label=-vocals || label=-instrumental
      fi
    fi
    ending="${url%%\?*}"; ending="${ending##*.}"
    [[ ${#ending} -le 5 ]] || ending=bin
    file="$(cat "$run/$1.file$number" 2> /dev/null || true)" # of an attempt that was cut off
    if [[ -z $file ]]; then
      file="$out/$3$label.$ending"
      for ((again = 2; again < 10000; again++)); do # never over a file of an earlier run
        [[ -e $file ]] || break
        file="$out/$3$label-$again.$ending"
      done
      printf '%s' "$file" > "$run/$1.file$number"
    fi
    curl -sS --fail --location --proto '=https,http' --retry 6 --retry-all-errors --max-time 600 -o "$file" "$url" \
      || fail "$url cannot be downloaded"
    case "$(head -c 9 "$file" | tr -d '\0 \n')" in
      '' | '<'* | '{'* | MZ* | '#!'*) rm -f "$file"; fail "$url holds no media file" ;;
    esac
    echo "$1: saved $file" >&2
  done < "$tmp/$1.urls"
  printf '%s' "$state"
}
