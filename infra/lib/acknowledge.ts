/** Findings of cdk-nag that are meant to be: each by its exact name, with the reason. */

import { Validations } from "aws-cdk-lib";
import type { IConstruct } from "constructs";

/** A role's policy has a resource with a star; `resource` is its ARN from the service on. */
export function acknowledgeWildcard(role: IConstruct, resource: string, reason: string): void {
  Validations.of(role).acknowledge({
    id: `AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:${resource}]`,
    reason,
  });
}
