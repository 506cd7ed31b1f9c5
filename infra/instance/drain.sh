#!/bin/bash
# Waits for the end of this instance, lets the daemon finish, and tells the group that it may go on.
# A group that takes an instance away sets its target state and waits at the lifecycle hook, at most
# as long as the hook says; there is no event for it inside the instance, only this page to ask.
# The daemon gives its leases away when it stops (aws.release-at-stop), so that the others go on
# with its retries within seconds.
# Environment: REGION, GROUP, HOOK; for tests IMDS and EVERY_S.
set -euo pipefail

IMDS=${IMDS:-http://169.254.169.254/latest}
EVERY_S=${EVERY_S:-5}

metadata() {
    local token
    token=$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" "$IMDS/api/token") &&
        curl -sf -H "X-aws-ec2-metadata-token: $token" "$IMDS/meta-data/$1"
}

# An answer that does not come is no end: the metadata service may be slow, and asks are cheap.
is_ending() { [ "$(metadata autoscaling/target-lifecycle-state)" = Terminated ]; }

until is_ending; do sleep "$EVERY_S"; done

echo "this instance is to end: stopping the daemon"
# Even if the stop fails, the group must not wait for nothing: the leases end by themselves.
systemctl stop posthaste.service || echo "the daemon did not stop as it should" >&2
aws autoscaling complete-lifecycle-action --region "$REGION" \
    --auto-scaling-group-name "$GROUP" --lifecycle-hook-name "$HOOK" \
    --instance-id "$(metadata instance-id)" --lifecycle-action-result CONTINUE
