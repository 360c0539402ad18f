# AWS: who reaches what, for the tasks of deploy/dagster.aws.yaml. Dagster's gRPC asks nobody
# who they are and knows no TLS: whoever reaches port 4000 runs the definitions with the code
# server's credentials. Each service has a group of its own, and no rule names addresses.

variable "vpc_id" { type = string }

# The load balancer that speaks TLS to browsers.
variable "load_balancer_security_group_id" { type = string }

resource "aws_security_group" "activekg" {
  for_each = toset(["code-server", "daemon", "webserver", "api", "run"])
  name     = "activekg-${each.key}"
  vpc_id   = var.vpc_id
}

# Port 4000 is for the daemon and the webserver. Runs load the definitions themselves.
resource "aws_vpc_security_group_ingress_rule" "code_server" {
  for_each                     = toset(["daemon", "webserver"])
  security_group_id            = aws_security_group.activekg["code-server"].id
  referenced_security_group_id = aws_security_group.activekg[each.key].id
  ip_protocol                  = "tcp"
  from_port                    = 4000
  to_port                      = 4000
}

# Port 3000 is for the admin API, and for the load balancer.
resource "aws_vpc_security_group_ingress_rule" "webserver" {
  for_each = {
    api           = aws_security_group.activekg["api"].id
    load-balancer = var.load_balancer_security_group_id
  }
  security_group_id            = aws_security_group.activekg["webserver"].id
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 3000
  to_port                      = 3000
}

# All of them reach the database, the stores and each other.
resource "aws_vpc_security_group_egress_rule" "all" {
  for_each          = aws_security_group.activekg
  security_group_id = each.value.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}
